"""The HTTP client over libcurl: how the drivers ask their clusters, and the publisher asks atlas.

libcurl takes a third of the CPU that urllib3 takes for a request, and gives up the interpreter's lock once for the
whole of it instead of at every read and write. It is told to take nothing from the environment (no proxy, no .netrc),
to follow no redirect, and to verify certificates.

Connections are kept; no two threads share one. Where one turns out to be closed, libcurl opens another and sends the
request again, a POST as well, and cannot be told not to (CURLOPT_FRESH_CONNECT aside). So whoever writes must know
their own earlier write when they meet it.

In here: what the composition root alone constructs. All others see `runner.drivers.http.client`.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pycurl

from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.transfers import transfers
from runner.errors import Unavailable
from runner.runtime.clock import Clock, Deadline

CONNECT_SECONDS = 3.0
"""For a connection to stand, TLS included."""

MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of an answer; a page of 500 jobs has a few million."""

FILES_SECONDS = 10.0
"""How long a connection is used before we look whether its certificates' files were written anew."""

_TLS_FAILED = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CACERT,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
    }
)


class CurlHttpClient:
    """Requests to one server: of each thread, the last route's connections are kept.

    Opens them when first used, so after the fork.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._local = threading.local()

    def __repr__(self) -> str:
        return "CurlHttpClient()"

    def request(
        self,
        route: Route,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: Sequence[str] = (),
        wanted: Sequence[str] = (),
    ) -> HttpResponse:
        """See HttpClient.request."""
        deadline.check(f"asking {route.server} ({method} {path.partition('?')[0]})")
        _refuse_unsendable(headers)
        known = self._known(route)
        content: list[bytes] = []
        lines: list[bytes] = []
        with known.handle() as handle:
            handle.setopt(pycurl.URL, known.url + path)
            if body is None:
                handle.setopt(pycurl.HTTPGET, 1)
            else:
                handle.setopt(pycurl.POSTFIELDS, body)
            handle.setopt(pycurl.CUSTOMREQUEST, method)
            handle.setopt(pycurl.HTTPHEADER, [*headers, "Expect:"])
            handle.setopt(pycurl.TIMEOUT_MS, max(int(deadline.left * 1000), 1))
            handle.setopt(pycurl.WRITEFUNCTION, content.append)
            # Each line of a head would be a call into the interpreter, for which its lock has to be had.
            handle.setopt(pycurl.HEADERFUNCTION, lines.append if wanted else None)
            try:
                known.transfers.perform(handle)
            except pycurl.error as error:
                raise _our_error(handle, route, error) from error
            return HttpResponse(
                handle.getinfo(pycurl.RESPONSE_CODE),
                b"".join(content),
                min(handle.getinfo(pycurl.RETRY_AFTER), 3600) or None,
                _headers(lines, wanted),
            )

    def _known(self, route: Route) -> _Known:
        """This thread's handles for the route, with their connections."""
        known: _Known | None = getattr(self._local, "known", None)
        if known is None or not known.leads(route):
            if known is not None:
                known.transfers.retire()
            known = self._local.known = _Known(route, self._clock)
        return known


class _Known:
    """A thread's handles for a route, with the connections that they keep; as many as it had requests at once."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self.route = route
        self.url, self._there = _called(route)
        self.transfers = transfers(clock)
        self._clock = clock
        self._written = _files_written(route)
        self._until = clock.monotonic() + FILES_SECONDS
        self._idle: list[Any] = []

    @contextmanager
    def handle(self) -> Iterator[Any]:
        """A handle that nobody else uses meanwhile."""
        handle = self._idle.pop() if self._idle else _new_handle(self.route, self._there)
        try:
            yield handle
        finally:
            self._idle.append(handle)

    def leads(self, route: Route) -> bool:
        """Whether it still does what the route asks for. libcurl itself would keep a CA for a day."""
        if self.route is not route and self.route != route:
            return False
        if self._clock.monotonic() > self._until:
            self._until = self._clock.monotonic() + FILES_SECONDS
            return self._written == _files_written(route)
        return True


def _called(route: Route) -> tuple[str, str]:
    """The URL by the name in the certificate, and what that name leads to, in libcurl's words (CONNECT_TO)."""
    if not route.server_name:
        return route.url, ""
    parts = urlsplit(route.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    named = f"{route.server_name}:{port}"
    return parts._replace(netloc=named).geturl(), f"{named}:{there}"


def _files_written(route: Route) -> tuple[float, ...]:
    """When its files were written last."""
    return tuple(map(_written, filter(None, (route.ca_file, route.cert_file, route.key_file))))


def _new_handle(route: Route, there: str) -> Any:
    """Everything that holds for all requests of a route."""
    handle = pycurl.Curl()
    system = ssl.get_default_verify_paths()
    options: dict[int, Any] = {
        pycurl.NOSIGNAL: 1,  # we are not the only thread
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # one request at a time: HTTP/2 only costs
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.PATH_AS_IS: 1,
        pycurl.USERAGENT: "orchestrator",
        pycurl.CONNECTTIMEOUT_MS: int(CONNECT_SECONDS * 1000),
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: route.silence_seconds,
        pycurl.MAXFILESIZE_LARGE: MAX_ANSWER,
        pycurl.PROXY: route.proxy,  # an empty one is none, whatever the environment says
        pycurl.NOPROXY: "",
        pycurl.SSL_VERIFYPEER: int(route.verify),
        pycurl.SSL_VERIFYHOST: 2 if route.verify else 0,
        # None takes away what libcurl was built with.
        pycurl.CAINFO: route.ca_file or system.cafile,
        pycurl.CAPATH: None if route.ca_file else system.capath,
        pycurl.PROXY_CAINFO: system.cafile,
        pycurl.PROXY_CAPATH: system.capath,
    }
    if route.cert_file:
        options[pycurl.SSLCERT] = route.cert_file
    if route.key_file:
        options[pycurl.SSLKEY] = route.key_file
    for option, value in options.items():
        handle.setopt(option, value)
    if there:
        handle.setopt(pycurl.CONNECT_TO, [there])
    if route.proxy_headers:
        handle.setopt(pycurl.PROXYHEADER, list(route.proxy_headers))
    return handle


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _our_error(handle: Any, route: Route, error: pycurl.error) -> Unavailable:
    code, detail = error.args[0], handle.errstr() or error.args[1]
    where = f"{route.server} at {route.url}"
    if code in _TLS_FAILED:
        return Unavailable(f"TLS with {where} failed: {detail}; check {route.trust}")
    if not handle.getinfo(pycurl.REQUEST_SIZE):
        return Unavailable(f"{where} cannot be reached: {detail}")
    return Unsettled(f"{where} did not answer: {detail}")


def _refuse_unsendable(headers: Sequence[str]) -> None:
    """A line break in a token would begin another header. Raises Unavailable, and doesn't quote it."""
    for header in headers:
        if not (header.isascii() and header.isprintable()):
            name = header.partition(":")[0]
            raise Unavailable(f"the value for the header {name} holds more than printable ASCII; renew the credentials")


def _headers(lines: Sequence[bytes], wanted: Sequence[str]) -> dict[str, str]:
    found = (line.decode("latin-1").partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in found if name.lower() in wanted}
