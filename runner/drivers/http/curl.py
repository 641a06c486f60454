"""The HTTP client on libcurl. Drivers use it to call their clusters, and the publisher uses it to call atlas.

libcurl needs a third of the CPU that urllib3 needs for a request. It releases the interpreter's lock once per request
instead of at every read and write. It is configured to ignore the environment (no proxy, no .netrc), to follow no
redirect, and to verify certificates.

Connections are kept alive; no two threads share one. If a kept connection turns out to be closed, libcurl opens another
and sends the request again, a POST as well. No option disables this, except CURLOPT_FRESH_CONNECT, which disables
reuse. So every caller that writes must recognize its own earlier write.

Only the composition root imports this module. All others import `runner.drivers.http.client`.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pycurl

from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.lines import LineReceiver
from runner.drivers.http.transfers import transfers
from runner.errors import Unavailable
from runner.runtime.clock import Clock, Deadline

CONNECT_SECONDS = 3.0
"""For opening a connection, TLS handshake included."""

MAX_RESPONSE_BYTES = 256 * 1024 * 1024
"""The largest body of a response; a page of 500 jobs has a few million bytes."""

FILES_SECONDS = 10.0
"""How often a thread checks whether the certificate files have changed."""

_NEVER = 86400
"""Seconds of silence that libcurl allows in a stream: LineReceiver measures them instead."""

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
    """Sends requests with libcurl. Each thread keeps the connections of the last route that it used.

    Connections are opened at first use, so after the fork.
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
        _check_headers(headers)
        handles = self._handles_for(route)
        content: list[bytes] = []
        lines: list[bytes] = []
        with handles.handle() as handle:
            handle.setopt(pycurl.URL, handles.url + path)
            if body is None:
                handle.setopt(pycurl.HTTPGET, 1)
            else:
                handle.setopt(pycurl.POSTFIELDS, body)
            handle.setopt(pycurl.CUSTOMREQUEST, method)
            handle.setopt(pycurl.HTTPHEADER, [*headers, "Expect:"])
            handle.setopt(pycurl.TIMEOUT_MS, max(int(deadline.left * 1000), 1))
            handle.setopt(pycurl.WRITEFUNCTION, content.append)
            # libcurl would call Python for each header line, and each call acquires the interpreter's lock.
            handle.setopt(pycurl.HEADERFUNCTION, lines.append if wanted else None)
            try:
                handles.transfers.perform(handle)
            except pycurl.error as error:
                raise _error_for(handle, route, error) from error
            return HttpResponse(
                handle.getinfo(pycurl.RESPONSE_CODE),
                b"".join(content),
                min(handle.getinfo(pycurl.RETRY_AFTER), 3600) or None,
                _headers(lines, wanted),
            )

    def stream(
        self,
        route: Route,
        path: str,
        deadline: Deadline,
        received: Callable[[bytes], None],
        *,
        headers: Sequence[str] = (),
        silence_seconds: float,
    ) -> HttpResponse:
        """See HttpClient.stream. Where greenlets are used, `received` runs in gevent's loop, so it must not wait."""
        deadline.check(f"asking {route.server} (GET {path.partition('?')[0]})")
        _check_headers(headers)
        handles = self._handles_for(route)
        receiver = LineReceiver(received, server=route.server, silence_seconds=silence_seconds, clock=self._clock)
        handle = handles.stream_handle(receiver)
        try:
            handle.setopt(pycurl.URL, handles.url + path)
            handle.setopt(pycurl.HTTPHEADER, list(headers))
            handle.setopt(pycurl.TIMEOUT_MS, max(int(deadline.left * 1000), 1))
            try:
                handles.transfers.perform(handle)
            except pycurl.error as error:
                if receiver.failure is None:
                    raise _error_for(handle, route, error) from error
            if receiver.failure is not None:
                raise receiver.failure
            status, body = handle.getinfo(pycurl.RESPONSE_CODE), receiver.unfinished
            if 200 <= status < 300 and body:
                raise Unsettled(f"{route.server} at {route.url} ended its response within a line; repeat the request")
            return HttpResponse(status, body, min(handle.getinfo(pycurl.RETRY_AFTER), 3600) or None)
        finally:
            handle.close()

    def _handles_for(self, route: Route) -> _RouteHandles:
        """This thread's handles for the route. Handles of another route are retired first."""
        handles: _RouteHandles | None = getattr(self._local, "handles", None)
        if handles is None or not handles.serves(route):
            if handles is not None:
                handles.transfers.retire()
            handles = self._local.handles = _RouteHandles(route, self._clock)
        return handles


class _RouteHandles:
    """One thread's curl handles for a route, with their connections: as many as it had concurrent requests."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self.route = route
        self.url, self._connect_to = _connect_target(route)
        self.transfers = transfers(clock)
        self._clock = clock
        self._mtimes = _file_mtimes(route)
        self._until = clock.monotonic() + FILES_SECONDS
        self._idle: list[Any] = []

    @contextmanager
    def handle(self) -> Iterator[Any]:
        """A handle for exclusive use until the block ends."""
        handle = self._idle.pop() if self._idle else _new_handle(self.route, self._connect_to)
        try:
            yield handle
        finally:
            self._idle.append(handle)

    def stream_handle(self, receiver: LineReceiver) -> Any:
        """A handle for one stream. It has other options than those for requests, so it is not kept."""
        handle = _new_handle(self.route, self._connect_to)
        handle.setopt(pycurl.HTTPGET, 1)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, 0)  # no limit; the deadline and the lines have theirs
        handle.setopt(pycurl.LOW_SPEED_TIME, _NEVER)
        handle.setopt(pycurl.NOPROGRESS, 0)
        handle.setopt(pycurl.XFERINFOFUNCTION, receiver.on_progress)
        handle.setopt(pycurl.HEADERFUNCTION, receiver.on_header)
        handle.setopt(pycurl.WRITEFUNCTION, receiver.on_data)
        return handle

    def serves(self, route: Route) -> bool:
        """Whether the handles still fit the route and its files. libcurl itself would cache a CA for a day."""
        if self.route is not route and self.route != route:
            return False
        if self._clock.monotonic() > self._until:
            self._until = self._clock.monotonic() + FILES_SECONDS
            return self._mtimes == _file_mtimes(route)
        return True


def _connect_target(route: Route) -> tuple[str, str]:
    """The URL with the certificate's host name, and the value of CURLOPT_CONNECT_TO that maps it to the real host."""
    if not route.server_name:
        return route.url, ""
    parts = urlsplit(route.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connect_to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    named = f"{route.server_name}:{port}"
    return parts._replace(netloc=named).geturl(), f"{named}:{connect_to}"


def _file_mtimes(route: Route) -> tuple[float, ...]:
    """The modification times of the route's certificate and key files."""
    return tuple(map(_mtime, filter(None, (route.ca_file, route.cert_file, route.key_file))))


def _new_handle(route: Route, connect_to: str) -> Any:
    """A curl handle with the options that are the same for all requests of a route."""
    handle = pycurl.Curl()
    system = ssl.get_default_verify_paths()
    options: dict[int, Any] = {
        pycurl.NOSIGNAL: 1,  # signals are not safe with several threads
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # one request at a time: HTTP/2 would only add cost
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.PATH_AS_IS: 1,
        pycurl.USERAGENT: "orchestrator",
        pycurl.CONNECTTIMEOUT_MS: int(CONNECT_SECONDS * 1000),
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: route.silence_seconds,
        pycurl.MAXFILESIZE_LARGE: MAX_RESPONSE_BYTES,
        pycurl.PROXY: route.proxy,  # an empty string disables proxies from the environment
        pycurl.NOPROXY: "",
        pycurl.SSL_VERIFYPEER: int(route.verify),
        pycurl.SSL_VERIFYHOST: 2 if route.verify else 0,
        # None removes libcurl's built-in path.
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
    if connect_to:
        handle.setopt(pycurl.CONNECT_TO, [connect_to])
    if route.proxy_headers:
        handle.setopt(pycurl.PROXYHEADER, list(route.proxy_headers))
    return handle


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _error_for(handle: Any, route: Route, error: pycurl.error) -> Unavailable:
    code, detail = error.args[0], handle.errstr() or error.args[1]
    where = f"{route.server} at {route.url}"
    if code in _TLS_FAILED:
        return Unavailable(f"TLS with {where} failed: {detail}; check {route.trust}")
    if not handle.getinfo(pycurl.REQUEST_SIZE):
        return Unavailable(f"{where} cannot be reached: {detail}")
    return Unsettled(f"{where} did not answer: {detail}")


def _check_headers(headers: Sequence[str]) -> None:
    """Raises Unavailable, without quoting the value, for a header that could inject another header (a line break)."""
    for header in headers:
        if not (header.isascii() and header.isprintable()):
            name = header.partition(":")[0]
            raise Unavailable(
                f"the value for the header {name} has characters other than printable ASCII; renew the credentials"
            )


def _headers(lines: Sequence[bytes], wanted: Sequence[str]) -> dict[str, str]:
    found = (line.decode("latin-1").partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in found if name.lower() in wanted}
