"""Which record is due next, for each step: heaps, since there may be ten thousand of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from runner.tracker.ledger.record import Record, Step

_Entry = tuple[bool, float, int, Record]
"""Whether the step was tried before, when it is due, a number that keeps the order, and the record."""


class Agenda:
    """Records by step and time. An entry that no longer fits its record is dropped when it comes up."""

    def __init__(self) -> None:
        self._heaps: dict[Step | None, list[_Entry]] = {}
        self._numbers = count()

    def __repr__(self) -> str:
        return f"Agenda({ {step: len(heap) for step, heap in self._heaps.items()} })"

    def put(self, record: Record) -> None:
        """Enter the record for its step (None: to be judged again) at its time."""
        if record.due is not None:
            tried = record.step is not None and record.tries > 0  # a judgement is due at its time, whatever was tried
            entry = (tried, record.due, next(self._numbers), record)
            heapq.heappush(self._heaps.setdefault(record.step, []), entry)

    def pop(self, step: Step | None, now: float) -> Record | None:
        """The record whose step has been due for the longest, those that failed before last. None if none is due."""
        entry = self._first(step)
        if entry is None or entry[1] > now:
            return None
        heapq.heappop(self._heaps[step])
        return entry[3]

    def next(self, steps: Iterable[Step | None]) -> float | None:
        """When the next record is due for one of these steps."""
        first = [entry[1] for step in steps if (entry := self._first(step))]
        return min(first, default=None)

    def _first(self, step: Step | None) -> _Entry | None:
        heap = self._heaps.get(step, [])
        while heap:
            _, due, _, record = heap[0]
            if record.step == step and record.due == due and not record.busy and not record.forgotten:
                return heap[0]
            heapq.heappop(heap)
        return None
