"""Deadlines on the host's clock, for tests that act on the real thing."""

from __future__ import annotations

from runner.runtime.clock import Clock, Deadline, SystemClock

_SYSTEM = SystemClock()


def within(seconds: float, clock: Clock = _SYSTEM) -> Deadline:
    """`seconds` from now."""
    return Deadline.after(seconds, clock)
