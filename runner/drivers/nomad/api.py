"""HTTP to one Nomad agent: python-nomad builds the URLs and parameters, this module's session sends the requests.

python-nomad's own session verifies no certificate by default, uses proxies and a .netrc from the environment, sends the
token to the target of a redirect, limits no response size, and costs several times as much. The session here does none
of this; it uses the HTTP client that the composition root passes in. Paths are passed as text with quoted parts, since
python-nomad's typed calls do not quote.

`raise_for_status` decides what a response means. A missing response is `Unsettled`; the driver then repeats the step.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from nomad.api.base import Requester
from nomad.api.exceptions import BaseNomadException

from runner.config.drivers import NomadSection
from runner.drivers.http.client import HttpClient, HttpResponse, Route, Unsettled, misdirected
from runner.errors import Busy, Rejected, Unavailable
from runner.runtime.clock import Clock, Deadline

_NEXT_PAGE = "x-nomad-nexttoken"
_INDEX = "x-nomad-index"

_DENIED = re.compile(r"Permission denied$|ACL token (not found|expired)$")
_NO_REGION = "No path to region"
# Nomad returns 500 for any error of a handler. Only the message distinguishes requests that it will never accept.
_PERMANENT = re.compile(r"\d+ errors? occurred|in nonexistent|[Vv]alidation|is not allowed|namespace .* does not exist")


class NomadResponse(msgspec.Struct, frozen=True):
    """A response of the agent. `now` is the time of the agent's clock, in seconds since the epoch."""

    status: int
    body: bytes
    now: float
    retry_after: int | None = None
    next_page: str = ""
    index: int = 0
    """The index of the last change to what a list shows."""

    @property
    def ok(self) -> bool:
        """Whether the status is below 400. python-nomad reads this attribute."""
        return self.status < 400

    @property
    def status_code(self) -> int:
        """The status, under the name that python-nomad reads."""
        return self.status

    @property
    def denied(self) -> bool:
        """Whether the token was rejected. Responses forwarded from a client agent (fs, logs) have status 500."""
        return self.status == 403 or (self.status >= 400 and bool(_DENIED.search(self.message)))

    @property
    def message(self) -> str:
        """Nomad's error message, on one line."""
        return " ".join(self.body[:1000].decode(errors="replace").split()) or f"HTTP {self.status}"


class NomadClient:
    """Sends requests to one Nomad agent, from any number of threads. Connects at first use, so after the fork."""

    def __init__(self, settings: NomadSection, *, http: HttpClient, clock: Clock) -> None:
        self._settings = settings
        self._reading = threading.Lock()
        self._token: str | None = None
        self._session = _Session(settings, http, clock)
        self._requester = _Requester(
            address=settings.address.rstrip("/"),
            region=settings.region or None,
            session=self._session,
        )

    def __repr__(self) -> str:
        return f"NomadClient({self._settings.address})"

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> NomadResponse:
        """Send a request and return the response, for any status. If the token is rejected, reads its file again once.

        Raises Unsettled if the response is missing or incomplete, Unavailable if no request was sent.
        """
        token = self._token if self._token is not None else self._read_token(None)
        response = self._send(method, path, deadline, body, query, token)
        if response.denied and (fresh := self._read_token(token)) != token:
            token, response = fresh, self._send(method, path, deadline, body, query, fresh)
        if response.denied and token and not self._is_known(token, deadline):
            # Most endpoints return the same error for an unknown token and for one that lacks a capability.
            raise Unavailable("Nomad does not know our token; renew nomad.tokenFile", retry_after=10)
        return response

    def _is_known(self, token: str, deadline: Deadline) -> bool:
        """Whether Nomad knows the token. A job's workload identity is no ACL token (404), but can list its policies."""
        response = self._send("GET", "acl/token/self", deadline, None, None, token)
        if response.status == 404:
            response = self._send("GET", "acl/policies", deadline, None, None, token)
        return not response.denied

    def stream(
        self,
        path: str,
        query: Sequence[tuple[str, str]],
        deadline: Deadline,
        received: Callable[[bytes], None],
        *,
        silence_seconds: float,
    ) -> NomadResponse:
        """GET a response that goes on. See HttpClient.stream. A name may occur several times in the query.

        A token that Nomad does not know, or that lacks the capability, gets a response without a line.
        """
        region = [("region", self._settings.region)] if self._settings.region else []
        token = self._token if self._token is not None else self._read_token(None)
        url = f"/v1/{path}?{urlencode([*query, *region])}"
        return self._session.stream(url, token, deadline, received, silence_seconds)

    def _send(
        self, method: str, path: str, deadline: Deadline, body: Any, query: Mapping[str, str] | None, token: str
    ) -> NomadResponse:
        headers = {"X-Nomad-Token": token} if token else {}
        content = None if body is None else msgspec.json.encode(body)
        return self._requester.send(method, path, query or {}, content, headers, deadline)

    def _read_token(self, refused: str | None) -> str:
        """The token. Reads the file unless another thread has read a new token after `refused`."""
        with self._reading:
            if self._token is None or self._token == refused:
                path = self._settings.token_file
                try:
                    token = Path(path).read_text(encoding="ascii").strip() if path else ""
                except (OSError, UnicodeDecodeError) as error:
                    raise Unavailable(
                        f"the Nomad token in {path} cannot be read: {error}; check nomad.tokenFile", retry_after=10
                    ) from error
                if not token.isprintable():  # it is a header's value
                    raise Unavailable(f"the Nomad token in {path} is not one line; write it anew", retry_after=10)
                self._token = token
            return self._token


class _Requester(Requester):  # type: ignore[misc]  # python-nomad is not typed
    """python-nomad's requester, for any path. It returns the response for any status."""

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        headers: dict[str, str],
        deadline: Deadline,
    ) -> NomadResponse:
        try:
            response: NomadResponse = self._request(
                method=method, endpoint=f"v1/{path}", params=dict(query), data=body, headers=headers, timeout=deadline
            )
        except BaseNomadException as error:  # it holds the response
            response = error.nomad_resp
        return response


class _Session:
    """The methods of a session that python-nomad calls."""

    def __init__(self, settings: NomadSection, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._route = Route(
            url=settings.address.rstrip("/"),
            server="Nomad",
            trust="nomad.caFile",
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
        )

    def get(self, **request: Any) -> NomadResponse:
        return self._send("GET", **request)

    def post(self, **request: Any) -> NomadResponse:
        return self._send("POST", **request)

    def delete(self, **request: Any) -> NomadResponse:
        return self._send("DELETE", **request)

    def stream(
        self, path: str, token: str, deadline: Deadline, received: Callable[[bytes], None], silence_seconds: float
    ) -> NomadResponse:
        headers = [f"X-Nomad-Token: {token}"] if token else []
        response = self._http.stream(
            self._route, path, deadline, received, headers=headers, silence_seconds=silence_seconds
        )
        return NomadResponse(response.status, response.body, self._clock.wall(), response.retry_after)

    def _send(
        self,
        method: str,
        *,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str] | None,
        timeout: Deadline,
        data: bytes | None = None,
        **_: Any,
    ) -> NomadResponse:
        given = (f"{name}: {value}" for name, value in (headers or {}).items())
        response = self._http.request(
            self._route,
            method,
            f"{url.removeprefix(self._route.url)}?{_encoded(tuple(params.items()))}",
            timeout,
            body=data,
            headers=["Content-Type: application/json", *given],
            wanted=("date", _NEXT_PAGE, _INDEX) if method == "GET" else (),
        )
        return NomadResponse(
            response.status,
            response.body,
            self._now(response),
            response.retry_after,
            response.headers.get(_NEXT_PAGE, ""),
            int(response.headers.get(_INDEX) or 0),
        )

    def _now(self, response: HttpResponse) -> float:
        """The agent's clock. Times in jobs are from the servers' clocks, from which our clock may differ by minutes."""
        said = response.headers.get("date")
        try:
            return parsedate_to_datetime(said).timestamp() if said else self._clock.wall()
        except (ValueError, TypeError):
            return self._clock.wall()


@lru_cache(maxsize=64)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    """The encoded query. There are few different ones, so they are cached."""
    return urlencode(query)


def raise_for_status(response: NomadResponse, action: str) -> None:
    """Raise the error that an error status means; return for 2xx, 404 and 409, which the driver handles itself.

    `action` names the capability that the request needs, like "list-jobs in namespace x".
    """
    status = response.status
    if status < 300 or status in (404, 409):
        return
    message = response.message
    if wrong := misdirected(status, response.body):
        raise Unavailable(f"Nomad did not answer ({action}): {wrong}; correct nomad.address", retry_after=10)
    if _NO_REGION in message:
        raise Unavailable(f"Nomad refused ({action}): {message}; correct nomad.region", retry_after=10)
    if status == 429:
        raise Busy(f"Nomad is throttling: {message}", retry_after=response.retry_after)
    if response.denied:
        raise Rejected(f"our Nomad token lacks {action}: {message}; grant it as in deploy/nomad")
    if status == 413 or (status < 500) or _PERMANENT.search(message):
        raise Rejected(f"Nomad refused ({action}): {message}")
    if "quota" in message.lower():
        raise Busy(f"the namespace's quota is used up: {message}", retry_after=30)
    raise Unsettled(f"Nomad failed ({action}): {message}", retry_after=response.retry_after)


def quoted(*names: str) -> str:
    """A path of quoted parts. Raises Rejected for parts that cannot be quoted: empty, `.` and `..`."""
    if not {"", ".", ".."}.isdisjoint(names):
        raise Rejected(f"{names[-1]!r} is no valid name of a job; use another name")
    return "/".join(quote(name, safe="") for name in names)
