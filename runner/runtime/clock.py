"""Time: one clock, and deadlines on it.

A process builds its `SystemClock` where it starts (the composition root, or the `main` of a protocol) and passes it
down. No other module reads the time or sleeps by itself, so a simulation can pass another clock.
"""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from runner.errors import Timeout
from runner.runtime import concurrency


class Clock(Protocol):
    """Reads the time, and waits."""

    def wall(self) -> float:
        """Seconds since the epoch. May jump when the host's clock is set."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. Never jumps, and is the same in all processes of a host."""

    def sleep(self, seconds: float) -> None:
        """Wait. Where `concurrency.cooperate` was called, other greenlets run meanwhile."""


class SystemClock:
    """The host's clock."""

    # The functions themselves, so that reading the time costs no call in Python.
    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(concurrency.pause)

    def __repr__(self) -> str:
        return "SystemClock()"


class Deadline(msgspec.Struct, frozen=True):
    """A moment on the monotonic clock, which is the same in all processes of a host."""

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
