"""The results that atlas has accepted and whose jobs are not marked yet: what this process, and the next leader, know.

A mark is one write for each job, and in a burst results are faster than marks. So the leader stores their ids in the
record of its leadership as well, one write for many (see runner.tracker.leadership.election). If it is killed, the next
leader marks these jobs without publishing their results again. It may begin with a list that is older than the last
marks, so an id stays in the record for a while after its job is marked. Nothing depends on it: a result whose id is not
there is published once more, under the same id.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from itertools import chain, islice

from runner.runtime.clock import Clock
from runner.runtime.tasks import Signal

MOST = 10_000
"""So many ids are kept of one driver."""

MOST_STORED = 500
"""So many ids are stored: 18 KB. A Variable of Nomad may have 64 KiB."""

NOT_WORTH_A_WRITE = 4
"""So many ids are not worth a write. Their jobs are mostly marked before it would be answered."""

KEPT_SECONDS = 900.0
"""An id whose job was not marked by this process is dropped after so long: another one has marked it, or it is gone."""

MARKED_SECONDS = 30.0
"""For so long after the mark of its job, an id stays in the record."""


class AcceptedResults:
    """The ids of results that atlas has accepted and whose jobs are not marked yet, at most MOST of one driver.

    A process that loses the leadership and regains it does not publish them again. Any thread may use it.
    """

    def __init__(self, due: Signal, clock: Clock) -> None:
        self.due = due
        """Set once more than NOT_WORTH_A_WRITE are not stored yet."""
        self.changed: Callable[[], None] = lambda: None
        """Called when some were stored."""
        self.stores = False
        """Whether there is a record to store them in."""
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: dict[str, float] = {}
        """When each was accepted, the oldest first."""
        self._marked: dict[str, float] = {}
        """When the job of each was marked, the oldest first; at most MOST_STORED."""
        self._inherited: set[str] = set()
        """Those of an earlier leader. Their jobs may be marked."""
        self._unstored: dict[str, None] = {}
        """The oldest first."""

    def __repr__(self) -> str:
        return f"AcceptedResults({len(self)})"

    def __contains__(self, result_id: str) -> bool:
        return result_id in self._ids

    def __len__(self) -> int:
        """How many this process has added whose jobs are not marked."""
        return len(self._ids) - len(self._inherited)

    @property
    def unstored(self) -> int:
        """How many are not known to be stored. A leader that is killed now leaves as many to be published again."""
        return len(self._unstored)

    def add(self, result_id: str) -> None:
        """Atlas has accepted it. The oldest one is dropped if there are too many."""
        with self._lock:
            self._inherited.discard(result_id)
            self._marked.pop(result_id, None)
            self._add(result_id)
            if self.stores:
                self._unstored[result_id] = None
            due = len(self._unstored) > NOT_WORTH_A_WRITE
        if due:
            self.due.set()

    def inherit(self, result_ids: Iterable[str]) -> None:
        """An earlier leader has stored them."""
        with self._lock:
            for each in result_ids:
                if each not in self._ids:
                    self._inherited.add(each)
                    self._add(each)

    def marked(self, result_ids: Iterable[str]) -> None:
        """Their job is marked. If the mark is taken away, they are published again."""
        with self._lock:
            for each in result_ids:
                self._drop(each)
                self._marked.pop(each, None)
                self._marked[each] = self._clock.monotonic()
                if len(self._marked) > MOST_STORED:
                    del self._marked[next(iter(self._marked))]

    def to_store(self) -> list[str]:
        """At most MOST_STORED ids. Call `stored` once they are in the record.

        First those that are not stored yet, then the newest without a mark, then those that were marked last.
        """
        with self._lock:
            now = self._clock.monotonic()
            for old in [each for each, since in self._ids.items() if since <= now - KEPT_SECONDS]:
                self._drop(old)
            for old in [each for each, since in self._marked.items() if since <= now - MARKED_SECONDS]:
                del self._marked[old]
            newest = (each for each in reversed(self._ids) if each not in self._unstored)
            return list(islice(chain(reversed(self._unstored), newest, reversed(self._marked)), MOST_STORED))

    def stored(self, result_ids: Collection[str]) -> None:
        """They are in the record."""
        with self._lock:
            for each in result_ids:
                self._unstored.pop(each, None)
        self.changed()

    def _add(self, result_id: str) -> None:
        self._ids[result_id] = self._clock.monotonic()
        if len(self._ids) > MOST:
            self._drop(next(iter(self._ids)))

    def _drop(self, result_id: str) -> None:
        self._ids.pop(result_id, None)
        self._inherited.discard(result_id)
        self._unstored.pop(result_id, None)
