"""Repeating a task until it is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two attempts; doubled each time, unless the answer says how long to wait."""

Jobs = list[dict[str, str]]
"""Name, driver and state of each job."""

OnRetry = Callable[[str, float], None]
"""Called before each pause with the reason and the pause in seconds."""

T = TypeVar("T")


class NotAccepted(Exception):
    """The task was finally refused, or not accepted in time. The text has the reason."""


class Retryable(Exception):
    """One attempt failed, and another may succeed. `retry_after`: seconds to wait, 0 where the answer does not say."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def repeat(
    attempt: Callable[[], T],
    timeout: float,
    on_retry: OnRetry,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `attempt` returns, once it does not raise Retryable. Raises NotAccepted after `timeout` seconds."""
    end, backoff = time.monotonic() + timeout, FIRST_PAUSE
    while True:
        try:
            return attempt()
        except Retryable as error:
            seconds = error.retry_after or backoff
            if time.monotonic() + seconds > end:
                raise NotAccepted(f"not accepted within {timeout:.0f} s; the last attempt: {error}") from error
            on_retry(str(error), seconds)
        sleep(seconds)
        backoff = min(backoff * 2, LONGEST_PAUSE)
