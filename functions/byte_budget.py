"""A bound on the bytes of messages that have not arrived whole, over all clients of a process."""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A message that is being received."""

    def refuse(self) -> None:
        """Stop receiving it, and free its bytes soon. Does not wait, and does not raise."""


class ByteBudget:
    """Over `limit` bytes, the message that has been received for longest is refused: a fast one is done by then."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[Holder, int] = {}
        self._total = 0

    def __repr__(self) -> str:
        return f"ByteBudget({self._total} of {self._limit} bytes, {len(self._held)} messages)"

    def add(self, holder: Holder, size: int) -> None:
        """`holder` has received `size` bytes more."""
        self._held[holder] = self._held.get(holder, 0) + size
        self._total += size
        while self._total > self._limit:
            oldest = next(iter(self._held))
            self.release(oldest)
            oldest.refuse()

    def release(self, holder: Holder) -> None:
        """`holder` has arrived whole, or is given up."""
        self._total -= self._held.pop(holder, 0)
