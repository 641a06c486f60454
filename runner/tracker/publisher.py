"""Publishing to atlas: one POST, a fresh token, any 2xx is taken.

A redirect is not followed: it would carry the token to somebody else.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import urllib3

from runner.errors import Unavailable
from runner.jobs import TokenClaims
from runner.tracker.results import Result

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
TOKEN_SECONDS = 300
"""A token of ours lives as long as one try could take, and the clocks' difference."""


class HttpPublisher:
    """POSTs results to `url`, signing each try anew."""

    def __init__(self, url: str, sign: Callable[[TokenClaims], str]) -> None:
        self._url = url
        self._sign = sign
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False
        )

    def __repr__(self) -> str:
        return f"HttpPublisher({self._url!r})"

    def publish(self, name: str, result: Result) -> None:
        """Returns once atlas has taken it. Raises Unavailable, saying what it answered, where it has not."""
        claims = TokenClaims(scope=result.scope, run_id=result.run_id, job=name, lifetime=TOKEN_SECONDS)
        headers = {"Authorization": f"Bearer {self._sign(claims)}", "Content-Type": "application/json"}
        url = f"{self._url}{result.path}"
        try:
            body = msgspec.json.encode(result.body)
            answer = self._pool.request("POST", url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"atlas did not answer at {url}: {error}") from error
        if not 200 <= answer.status < 300:
            raise Unavailable(f"atlas answered {answer.status} at {url}")
