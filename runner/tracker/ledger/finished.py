"""Jobs that are finished but may still be shown for a moment."""

from __future__ import annotations

from collections.abc import Set

from runner.observation import Observation
from runner.tracker.ledger.record import Key, Record, key_of


class FinishedJobs:
    """Jobs that a watch still shows which lags behind the mark: whether each was cancelled, and how often resent.

    A cancel or a resend that follows makes a job unfinished again.
    """

    def __init__(self) -> None:
        self._finished: dict[Key, tuple[bool, int]] = {}

    def __repr__(self) -> str:
        return f"FinishedJobs({len(self._finished)})"

    def add(self, record: Record) -> None:
        """Remember a record that is forgotten while its job is still shown."""
        if not (record.left or record.gone):
            self._finished[record.key] = record.seen.cancelled, record.seen.resent

    def has(self, seen: Observation) -> bool:
        """Whether this was seen before the job was marked. A later cancel or resend makes it unfinished again."""
        key = key_of(seen)
        known = self._finished.get(key)
        if known and known[0] == seen.cancelled and known[1] >= seen.resent:
            return True
        self._finished.pop(key, None)
        return False

    def left(self, seen: Observation) -> None:
        """The job is not shown any more."""
        self._finished.pop(key_of(seen), None)

    def listed(self, place: str, shown: Set[Key]) -> None:
        """A complete listing shows these jobs, and no others, in that place."""
        for key in [key for key in self._finished if key[0] == place and key not in shown]:
            del self._finished[key]
