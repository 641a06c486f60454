"""Time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from runner.errors import Timeout

Clock = Callable[[], float]
"""Seconds since the epoch."""


class Deadline(msgspec.Struct, frozen=True):
    """A moment on this host's monotonic clock, which no clock step moves and all its processes share."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """`seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()

    def check(self, doing: str) -> None:
        """Raises Timeout once the deadline has passed."""
        if self.left <= 0:
            raise Timeout(f"the deadline passed while {doing}; repeat the request")
