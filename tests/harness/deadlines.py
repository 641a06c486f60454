"""Deadlines on the host's clock, for tests with real processes and servers."""

from __future__ import annotations

from runner.runtime.clock import Clock, Deadline, SystemClock

_SYSTEM = SystemClock()


def within(seconds: float, clock: Clock = _SYSTEM) -> Deadline:
    """A deadline `seconds` from now."""
    return Deadline.after(seconds, clock)
