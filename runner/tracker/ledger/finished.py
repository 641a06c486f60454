"""Jobs that are finished but may still be shown for a moment, and results that are published but not marked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Set

from runner.observation import Observation
from runner.tracker.ledger.record import Key, Record, key_of

MOST_ACCEPTED = 10_000


class AcceptedResults:
    """The ids of results that atlas has accepted and whose jobs are not marked yet, at most MOST_ACCEPTED.

    A process that loses the leadership and regains it does not publish them again. Any thread may use it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"AcceptedResults({len(self._ids)})"

    def __contains__(self, result_id: str) -> bool:
        return result_id in self._ids

    def add(self, result_id: str) -> None:
        """Atlas has accepted it. The oldest one is dropped if there are too many."""
        with self._lock:
            self._ids[result_id] = None
            if len(self._ids) > MOST_ACCEPTED:
                del self._ids[next(iter(self._ids))]

    def marked(self, result_ids: Iterable[str]) -> None:
        """Their job is marked. If the mark is taken away, they are published again."""
        with self._lock:
            for each in result_ids:
                self._ids.pop(each, None)


class FinishedJobs:
    """Jobs that a watch still shows which lags behind the mark: their keys, and whether each was cancelled.

    A cancel that follows makes a job unfinished again.
    """

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
