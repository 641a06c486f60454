"""HTTP to one Nomad agent: addresses, parameters and TLS settings by python-nomad, over a session of ours.

python-nomad's own session verifies no certificate unless told to, follows proxies and a .netrc from the environment,
takes a token along a redirect, bounds no answer, and costs several times as much. So it is given ours, which does none
of this (it goes by the HTTP client that the composition root passes in); and paths whose parts are quoted, which its
typed calls don't do.

What an answer means is decided by `refuse`; a silence is `Unsettled`, for the driver to settle.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from nomad.api.base import Requester
from nomad.api.exceptions import BaseNomadException

from runner.config.drivers import NomadSection
from runner.drivers.http.client import HttpClient, HttpResponse, Route, Unsettled
from runner.errors import Busy, Rejected, Unavailable
from runner.runtime.clock import Clock, Deadline

_NEXT_PAGE = "x-nomad-nexttoken"

_DENIED = re.compile(r"Permission denied$|ACL token (not found|expired)$")
# Nomad answers 500 to whatever its handlers return as an error, so its words must tell what will never be taken.
_NEVER = re.compile(r"\d+ errors? occurred|in nonexistent|[Vv]alidation|is not allowed|namespace .* does not exist")


class NomadResponse(msgspec.Struct, frozen=True):
    """What the agent said. `now` is its clock, in seconds since the epoch."""

    status: int
    body: bytes
    now: float
    retry_after: int | None = None
    next_page: str = ""

    @property
    def ok(self) -> bool:
        """What python-nomad asks of an answer, besides its status."""
        return self.status < 400

    @property
    def status_code(self) -> int:
        """By python-nomad's name."""
        return self.status

    @property
    def denied(self) -> bool:
        """Whether the token was the trouble. What a client agent answers comes as a 500 (fs and logs)."""
        return self.status == 403 or (self.status >= 400 and bool(_DENIED.search(self.message)))

    @property
    def message(self) -> str:
        """Nomad's own words."""
        return " ".join(self.body[:1000].decode(errors="replace").split()) or f"HTTP {self.status}"


class NomadClient:
    """Requests to one Nomad agent, from any number of threads. Opens connections when first used, so after the fork."""

    def __init__(self, settings: NomadSection, *, http: HttpClient, clock: Clock) -> None:
        self._settings = settings
        self._reading = threading.Lock()
        self._token: str | None = None
        self._requester = _Requester(
            address=settings.address.rstrip("/"),
            region=settings.region or None,
            session=_Session(settings, http, clock),
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
        """The answer, whatever its status. A token that was refused is read anew, once.

        Raises Unsettled where there is no whole answer, Unavailable where no request can have been made.
        """
        token = self._token if self._token is not None else self._read_token(None)
        answer = self._send(method, path, deadline, body, query, token)
        if answer.denied and (fresh := self._read_token(token)) != token:
            token, answer = fresh, self._send(method, path, deadline, body, query, fresh)
        if answer.denied and token and self._send("GET", "acl/token/self", deadline, None, None, token).denied:
            # Most endpoints say the same of a token that they don't know, and of one that lacks a capability.
            raise Unavailable("Nomad does not know our token (any more); renew nomad.tokenFile", retry_after=10)
        return answer

    def _send(
        self, method: str, path: str, deadline: Deadline, body: Any, query: Mapping[str, str] | None, token: str
    ) -> NomadResponse:
        headers = {"X-Nomad-Token": token} if token else {}
        content = None if body is None else msgspec.json.encode(body)
        return self._requester.send(method, path, query or {}, content, headers, deadline)

    def _read_token(self, refused: str | None) -> str:
        """The token in the file, read unless another thread has done so since `refused` was."""
        with self._reading:
            if self._token is None or self._token == refused:
                path = self._settings.token_file
                try:
                    self._token = Path(path).read_text(encoding="ascii").strip() if path else ""
                except (OSError, UnicodeDecodeError) as error:
                    raise Unavailable(f"the Nomad token in {path} cannot be read: {error}", retry_after=10) from error
            return self._token


class _Requester(Requester):  # type: ignore[misc]  # python-nomad is not typed
    """python-nomad's requester, for any path, and with the answer whatever its status."""

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
            answer: NomadResponse = self._request(
                method=method, endpoint=f"v1/{path}", params=dict(query), data=body, headers=headers, timeout=deadline
            )
        except BaseNomadException as error:  # it has the answer, if any
            answer = error.nomad_resp
        return answer


class _Session:
    """What python-nomad needs of a session, and no more."""

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
            wanted=("date", _NEXT_PAGE) if method == "GET" else (),
        )
        next_page = response.headers.get(_NEXT_PAGE, "")
        return NomadResponse(response.status, response.body, self._now(response), response.retry_after, next_page)

    def _now(self, response: HttpResponse) -> float:
        """The agent's clock: times in jobs are by the servers' clocks, which ours may be minutes away from."""
        said = response.headers.get("date")
        try:
            return parsedate_to_datetime(said).timestamp() if said else self._clock.wall()
        except (ValueError, TypeError):
            return self._clock.wall()


@lru_cache(maxsize=64)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    """The few queries that are asked all the time."""
    return urlencode(query)


def refuse(answer: NomadResponse, doing: str) -> None:
    """Raise the error that a refusing answer means; return for 2xx, 404 and 409, which the driver understands.

    `doing` names the capability that it takes, like "list-jobs in namespace x".
    """
    status = answer.status
    if status < 300 or status in (404, 409):
        return
    message = answer.message
    if status == 429:
        raise Busy(f"Nomad is throttling: {message}", retry_after=answer.retry_after)
    if answer.denied:
        raise Rejected(f"our Nomad token lacks {doing}: {message}; grant it as in deploy/nomad")
    if status == 413 or (status < 500) or _NEVER.search(message):
        raise Rejected(f"Nomad refused ({doing}): {message}")
    if "quota" in message.lower():
        raise Busy(f"the namespace's quota is used up: {message}", retry_after=30)
    raise Unsettled(f"Nomad failed ({doing}): {message}", retry_after=answer.retry_after)


def quoted(*names: str) -> str:
    """A path whose every part is one part, whatever is in it. Raises Rejected for what no quoting makes a name."""
    if not {"", ".", ".."}.isdisjoint(names):
        raise Rejected(f"there can be no job of the name {names[-1]!r}")
    return "/".join(quote(name, safe="") for name in names)
