"""Time: one clock, and deadlines on it.

A process builds its `SystemClock` where it starts (the composition root, or the `main` of a protocol) and passes it
down. Nothing below reads the time or sleeps by itself, so a simulation can pass another clock.
"""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from runner.errors import Timeout
from runner.runtime import concurrency


class Clock(Protocol):
    """What time it is, and waiting."""

    def wall(self) -> float:
        """Seconds since the epoch. May jump when somebody sets the host's clock."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never jumps, and all processes of a host share it."""

    def sleep(self, seconds: float) -> None:
        """Wait. In a worker of gevent's, the other greenlets go on meanwhile."""


class SystemClock:
    """The host's clock."""

    # The functions themselves, so that a reading costs no call of ours.
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(concurrency.pause)

    def __repr__(self) -> str:
        return "SystemClock()"


class Deadline(msgspec.Struct, frozen=True):
    """A moment on a monotonic clock, which no clock step moves and all processes of a host share."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """`seconds` from now."""
        return cls(clock.monotonic() + seconds, clock)

    @property
    def left(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock.monotonic()

    def check(self, doing: str) -> None:
        """Raises Timeout once the deadline has passed."""
        if self.left <= 0:
            raise Timeout(f"the deadline passed while {doing}; repeat the request")
