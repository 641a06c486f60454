"""Jobs that are finished but may still be shown for a moment, by a watch that lags behind the mark."""

from __future__ import annotations

from collections.abc import Set

from runner.observation import Observation
from runner.tracker.ledger.record import Key, Record, key_of


class FinishedJobs:
    """Their keys, and whether each was cancelled: a cancel that follows makes a job unfinished again."""

    def __init__(self) -> None:
        self._cancelled: dict[Key, bool] = {}

    def __repr__(self) -> str:
        return f"FinishedJobs({len(self._cancelled)})"

    def add(self, record: Record) -> None:
        """Remember a record that is forgotten while its job is still shown."""
        if not (record.left or record.gone):
            self._cancelled[record.key] = record.seen.cancelled

    def has(self, seen: Observation) -> bool:
        """Whether this was seen before the job was marked. If it shows a later cancel, the job is unfinished again."""
        key = key_of(seen)
        if self._cancelled.get(key) == seen.cancelled:
            return True
        self._cancelled.pop(key, None)
        return False

    def left(self, seen: Observation) -> None:
        """The job is not shown any more."""
        self._cancelled.pop(key_of(seen), None)

    def listed(self, place: str, shown: Set[Key]) -> None:
        """A complete listing shows these jobs, and no others, in that place."""
        for key in [key for key in self._cancelled if key[0] == place and key not in shown]:
            del self._cancelled[key]
