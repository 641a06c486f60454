"""A clock that only a test moves."""

from __future__ import annotations


class ManualClock:
    """Its time moves only by `sleep`, `advance` and `set_wall`. `slept` lists the durations of sleeps, in seconds."""

    def __init__(self, wall: float = 1_700_000_000.0, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self.slept: list[float] = []

    def __repr__(self) -> str:
        return f"ManualClock(monotonic={self._monotonic:g})"

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._wall += seconds
        self._monotonic += seconds

    def set_wall(self, wall: float) -> None:
        """Set the wall clock. The monotonic clock stays."""
        self._wall = wall
