"""One HTTP request and its whole response, as everything that asks a server sees it: drivers and the publisher.

The composition root passes in what sends the requests: `runner.drivers.http.curl`, or a simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from runner.errors import Unavailable
from runner.runtime.clock import Deadline


class Unsettled(Unavailable):
    """The request may or may not have been applied: reset, timed out, or answered with a 5xx."""


class Route(msgspec.Struct, frozen=True):
    """A server, and all that a connection to it depends on: another route is another connection."""

    url: str
    """http(s)://host[:port][/path], without a slash at its end."""
    server: str = "the server"
    """What errors call it."""
    trust: str = "the CA certificates"
    """What says whom to trust about it, for the error where TLS fails."""
    ca_file: str = ""
    """Whom to trust about the server (PEM); the system's authorities where empty."""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True
    server_name: str = ""
    """What the server's certificate says, where that is not the URL's host."""
    proxy: str = ""
    proxy_headers: tuple[str, ...] = ()
    silence_seconds: int = 8
    """Without a single byte, after which no response is expected any more; the deadline bounds the whole."""

    def __repr__(self) -> str:
        return f"Route({self.url})"  # a proxy's URL may hold a password


class HttpResponse(msgspec.Struct, frozen=True):
    """What the server said. Of its headers, by their names in lower case, only those that were asked for."""

    status: int
    body: bytes
    retry_after: int | None = None
    """Seconds, from Retry-After; at most an hour."""
    headers: Mapping[str, str] = {}


class HttpClient(Protocol):
    """Sends requests, from any number of threads and greenlets at once.

    `request` is for a response that is read whole. One that is read line by line for as long as it lasts (a watch)
    needs another method beside it, with the same route, errors and deadline.
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
        """The response, whatever its status. `path` goes behind the route's URL as it is; `headers` are `Name: value`.

        `wanted` names the response's headers to give, in lower case. No redirect is followed.

        Raises Timeout where no time is left, Unavailable where nothing was sent, Unsettled where a response is missing.
        A request may arrive twice: where a kept connection turns out to be closed it is sent again, a POST as well.
        """
