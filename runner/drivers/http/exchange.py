"""One HTTP request and its whole answer, over libcurl: how both clusters' drivers ask their servers.

libcurl takes a third of the CPU that urllib3 takes for a request, and gives up the interpreter's lock once for the
whole of it instead of at every read and write. It is told to take nothing from the environment (no proxy, no .netrc),
to follow no redirect, and to verify certificates.

Connections are kept; no two threads share one. Where one turns out to be closed, libcurl opens another and sends the
request again, a POST as well, and cannot be told not to (CURLOPT_FRESH_CONNECT aside). So whoever writes must know
their own earlier write when they meet it.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pycurl

from runner.drivers.http.transfers import transfers
from runner.errors import Unavailable
from runner.runtime import concurrency
from runner.runtime.clock import Deadline

CONNECT_SECONDS = 3.0
"""For a connection to stand, TLS included."""

SILENCE_SECONDS = 8
"""Without a single byte, after which no answer is expected any more; the deadline bounds the whole."""

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


class Unsettled(Unavailable):
    """The request may or may not have been applied: reset, timed out, or answered with a 5xx."""


class Route(msgspec.Struct, frozen=True):
    """A server, and all that a connection to it depends on: another route is another connection."""

    url: str
    """http(s)://host[:port][/path], without a slash at its end."""
    ca_file: str = ""
    """Whom to trust about the server (PEM); the system's authorities where empty."""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True
    server_name: str = ""
    """What the server's certificate says, where that is not the URL's host."""
    proxy: str = ""
    proxy_headers: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Route({self.url})"  # a proxy's URL may hold a password

    def called(self) -> tuple[str, str]:
        """The URL by the name in the certificate, and what that name leads to, in libcurl's words (CONNECT_TO)."""
        if not self.server_name:
            return self.url, ""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        named = f"{self.server_name}:{port}"
        return parts._replace(netloc=named).geturl(), f"{named}:{there}"

    def written(self) -> tuple[float, ...]:
        """When its files were written last."""
        return tuple(map(_written, filter(None, (self.ca_file, self.cert_file, self.key_file))))


class Reply(msgspec.Struct, frozen=True):
    """What the server said. Of its headers, by their names in lower case, only those that were asked for."""

    status: int
    body: bytes
    retry_after: int | None = None
    headers: Mapping[str, str] = {}


class Exchange:
    """Requests from any number of threads. Opens connections when first used, so after the fork.

    `server` and `trust` are for errors: whom we asked, and what says whom to trust.
    """

    def __init__(self, server: str, trust: str) -> None:
        self._server = server
        self._trust = trust
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Exchange({self._server})"

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
    ) -> Reply:
        """The answer, whatever its status. `path` goes behind the route's URL as it is; `headers` are `Name: value`.

        Raises Timeout where no time is left, Unavailable where nothing was sent, Unsettled where an answer is missing.
        """
        deadline.check(f"asking {self._server} ({method} {path.partition('?')[0]})")
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
                raise self._our_error(handle, route, error) from error
            return Reply(
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
            known = self._local.known = _Known(route)
        return known

    def _our_error(self, handle: Any, route: Route, error: pycurl.error) -> Unavailable:
        code, detail = error.args[0], handle.errstr() or error.args[1]
        where = f"{self._server} at {route.url}"
        if code in _TLS_FAILED:
            return Unavailable(f"TLS with {where} failed: {detail}; check {self._trust}")
        if not handle.getinfo(pycurl.REQUEST_SIZE):
            return Unavailable(f"{where} cannot be reached: {detail}")
        return Unsettled(f"{where} did not answer: {detail}")


class _Known:
    """A thread's handles for a route, with the connections that they keep; as many as it had requests at once."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.url, self._there = route.called()
        self.transfers = transfers()
        self._written = route.written()
        self._until = time.monotonic() + FILES_SECONDS
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
        if time.monotonic() > self._until:
            self._until = time.monotonic() + FILES_SECONDS
            return self._written == route.written()
        return True


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
        pycurl.LOW_SPEED_TIME: SILENCE_SECONDS,
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


def _refuse_unsendable(headers: Sequence[str]) -> None:
    """A line break in a token would begin another header. Raises Unavailable, and doesn't quote it."""
    for header in headers:
        if not (header.isascii() and header.isprintable()):
            name = header.partition(":")[0]
            raise Unavailable(f"the value for the header {name} holds more than printable ASCII; renew the credentials")


def _headers(lines: Sequence[bytes], wanted: Sequence[str]) -> dict[str, str]:
    found = (line.decode("latin-1").partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in found if name.lower() in wanted}


def pauses(deadline: Deadline, first: float) -> Iterator[None]:
    """Try, pause, try again until the deadline: `first` seconds at first, doubled up to 2 s, with jitter."""
    pause = first
    while True:
        yield
        pause = min(pause * 2, 2.0)
        # S311: jitter is no secret
        wait = pause * random.uniform(0.5, 1.0)  # noqa: S311
        if deadline.left <= wait:
            return
        concurrency.pause(wait)
