"""One log line for each refused request, whatever its protocol; at most `PER_SECOND`, then a line with the count."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from runner.runtime.clock import Clock

log = logging.getLogger("orchestrator.refusals")

PER_SECOND = 100
MAX_PATH = 256
"""Characters of a path that are logged."""


class RefusalLog:
    """The refusals of one protocol in one process. `later(seconds, function)` calls the function after that time."""

    def __init__(self, protocol: str, clock: Clock, later: Callable[[float, Callable[[], None]], Any]) -> None:
        self._protocol = protocol
        self._clock = clock
        self._later = later
        self._began = -1.0
        self._written = self._left_out = 0

    def now(self) -> float:
        """Its clock's monotonic time."""
        return self._clock.monotonic()

    def write(self, *, request_id: str, path: str, status: int, code: str, arrived: float, peer: str) -> None:
        """Log one refusal. `arrived` is on the monotonic clock; `status` and `code` are what the client got."""
        now = self._clock.monotonic()
        if now >= self._began + 1:
            self._began, self._written = now, 0
        self._written += 1
        if self._written > PER_SECOND:
            self._left_out += 1
            if self._left_out == 1:
                self._later(self._began + 1 - now, self._count)
            return
        fields = {
            "request_id": request_id,
            "protocol": self._protocol,
            "path": path[:MAX_PATH],
            "status": status,
            "code": code,
            "milliseconds": round((now - arrived) * 1000),
            "peer": peer,
        }
        log.info("a request was refused", extra=fields)

    def _count(self) -> None:
        count, self._left_out = self._left_out, 0
        log.info(
            "%d more requests were refused within a second", count, extra={"protocol": self._protocol, "count": count}
        )
