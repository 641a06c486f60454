"""Publishes results to atlas: one POST with a new token. Any 2xx means that atlas has accepted the result.

A redirect is not followed: it would send the token to another server.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from runner.drivers.http.client import HttpClient, Route
from runner.errors import Unavailable
from runner.jobs import TokenClaims
from runner.runtime.clock import Clock, Deadline
from runner.tracker.results import Result

SILENCE_SECONDS = 10
"""Seconds without a byte from atlas after which the request fails."""

PUBLISH_SECONDS = 13.0
"""Seconds for one attempt: the connection (3 s) and the answer."""

TOKEN_SECONDS = 300
"""Lifetime of a token, in seconds: longer than one attempt, to allow for a difference of the clocks."""


class HttpPublisher:
    """POSTs results to `url`. Each attempt gets a new token."""

    def __init__(self, url: str, sign: Callable[[TokenClaims], str], *, http: HttpClient, clock: Clock) -> None:
        self._route = Route(
            url=url, server="atlas", trust="the system's CA certificates", silence_seconds=SILENCE_SECONDS
        )
        self._sign = sign
        self._http = http
        self._clock = clock

    def __repr__(self) -> str:
        return f"HttpPublisher({self._route.url!r})"

    def publish(self, name: str, result: Result) -> None:
        """See Publisher.publish. Raises Unavailable with atlas's status if that is not 2xx."""
        claims = TokenClaims(scope=result.scope, run_id=result.run_id, job=name, lifetime=TOKEN_SECONDS)
        headers = [f"Authorization: Bearer {self._sign(claims)}", "Content-Type: application/json"]
        url = f"{self._route.url}{result.path}"
        deadline = Deadline.after(PUBLISH_SECONDS, self._clock)
        body = msgspec.json.encode(result.body)
        try:
            response = self._http.request(self._route, "POST", result.path, deadline, body=body, headers=headers)
        except Unavailable as error:
            raise Unavailable(f"atlas did not answer at {url}: {error.detail}") from error
        if not 200 <= response.status < 300:
            raise Unavailable(f"atlas answered {response.status} at {url}")
