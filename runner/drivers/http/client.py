"""The HTTP interface that drivers and the publisher use: one request and its complete response.

The composition root passes in the implementation: `runner.drivers.http.curl`, or a simulation in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from runner.errors import Unavailable
from runner.runtime.clock import Deadline


class Unsettled(Unavailable):
    """The request may or may not have been applied: the connection was reset, timed out, or the response was a 5xx."""


class Route(msgspec.Struct, frozen=True):
    """A server and everything that a connection to it depends on. Different routes never share a connection."""

    url: str
    """http(s)://host[:port][/path], without a trailing slash."""
    server: str = "the server"
    """The name of the server in error messages."""
    trust: str = "the CA certificates"
    """The setting that names the trusted CAs, for the error message if TLS fails."""
    ca_file: str = ""
    """The trusted CA certificates (PEM). If empty, the system's CAs are trusted."""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True
    server_name: str = ""
    """The host name in the server's certificate, if it differs from the URL's host."""
    proxy: str = ""
    proxy_headers: tuple[str, ...] = ()
    silence_seconds: int = 8
    """A request fails after so many seconds without a byte from the server. The deadline bounds the whole request."""

    def __repr__(self) -> str:
        return f"Route({self.url})"  # a proxy's URL may contain a password


class HttpResponse(msgspec.Struct, frozen=True):
    """A response. `headers` has only the requested headers, with their names in lower case."""

    status: int
    body: bytes
    retry_after: int | None = None
    """Seconds, from Retry-After; at most an hour."""
    headers: Mapping[str, str] = {}


class HttpClient(Protocol):
    """Sends requests, from any number of threads and greenlets at once.

    `request` reads the complete response, `stream` reads one line by line.
    """

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
        """Send a request and return the response, for any status. No redirect is followed.

        `path` is appended to the route's URL unchanged. Each header is a string `Name: value`. `wanted` lists the
        response headers to return, in lower case.

        Raises Timeout if the deadline has passed, Unavailable if nothing was sent, Unsettled if the request was sent
        and no complete response arrived. A request may arrive twice: if a kept connection turns out to be closed, the
        request is sent again, a POST as well.
        """

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
        """GET a response that goes on, and call `received` with each line of it, without its line feed.

        Returns when the server ends the response: with an empty body after 2xx, else with the body of the error. An
        exception that `received` raises ends the request and is raised. Raises Unavailable and Timeout as `request`
        does, and Unsettled if the response is cut in a line or the server is silent for `silence_seconds`.
        """


_WANTS_TLS = b"HTTP request to an HTTPS server"
"""What Go's server answers to plain text, with 400 (net/http, server.go)."""


def misdirected(status: int, body: bytes) -> str:
    """Why a response is not the server's own decision: its address or the way to it is wrong. Empty if it may be.

    Nothing has been done then, and what was asked for can be done once the configuration is right.
    """
    if 300 <= status < 400:
        return f"it redirects (HTTP {status})"
    if status == 407:
        return "a proxy on the way wants a login"
    return "it wants https" if status == 400 and _WANTS_TLS in body[:1000] else ""
