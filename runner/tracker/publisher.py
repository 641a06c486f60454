"""Publishing to atlas: one POST, a fresh token, any 2xx is taken.

A redirect is not followed: it would carry the token to somebody else.
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
"""Without a byte of atlas's, after which its answer is no longer waited for."""

PUBLISH_SECONDS = 13.0
"""For the whole of one try: the connection (3 s) and the answer."""

TOKEN_SECONDS = 300
"""A token of ours lives as long as one try could take, and the clocks' difference."""


class HttpPublisher:
    """POSTs results to `url`, signing each try anew."""

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
        """Returns once atlas has taken it. Raises Unavailable, saying what it answered, where it has not."""
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
