"""The tracker: publishes the end of every job to atlas, and marks the job once atlas has accepted the result.

    leader of the engine ─▶ sources ─▶ ledger: judge ─▶ find ─▶ evidence ─▶ end ─▶ publish ─▶ mark ─▶ forgotten
                            (list, watch)              (workers, many at once)

It keeps no state that it needs: a result is pending if its job has ended and is not marked. So the tracker may be
killed at any moment and started on another host. At worst a result is sent twice, under the same id. A result that
atlas does not accept is sent again without limit, unless atlas refuses it for good; then its job is set aside. One slow
result, one slow node and one slow driver delay no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from runner.drivers.driver import Driver
from runner.observation import Observation
from runner.runtime.tasks import Signal
from runner.tracker.health import unaccepted
from runner.tracker.leadership.accepted import AcceptedResults
from runner.tracker.leadership.leader import leadership
from runner.tracker.ledger.record import Record
from runner.tracker.set_aside import SetAsideCount
from runner.tracker.shared import Settings, Shared
from runner.tracker.term import FINISH_SECONDS, LOOP_SECONDS, Term

log = logging.getLogger("orchestrator.tracker")

STUCK_SECONDS = 3.0
"""A driver's loop that has not run for so long is stuck. While one is stuck, the health file is not renewed, and the
supervisor replaces a tracker whose file is older than 30 s (SILENT_SECONDS in runner.supervisor.layout)."""


class Tracker:
    """Follows the jobs of all drivers, each in a task of its own."""

    def __init__(self, drivers: Mapping[str, Driver], settings: Settings, shared: Shared, holder: str) -> None:
        self._clock = shared.clock
        self._tasks = shared.tasks
        self._trackers = [DriverTracker(driver, holder, settings, shared) for driver in drivers.values()]
        self._metrics = shared.metrics

    def __repr__(self) -> str:
        return f"Tracker({', '.join(map(repr, self._trackers))})"

    def run(self, stop: Signal, beat: Callable[[Mapping[str, Any]], None] = lambda status: None) -> None:
        """Follow all jobs until `stop` is set. Calls `beat` with the status each second unless a part is stuck."""
        for tracker in self._trackers:
            self._tasks.start(f"tracker {tracker.name}", partial(tracker.run, stop))
        while not stop.is_set():
            if not any(tracker.stuck for tracker in self._trackers):
                beat(self.status())
            self._record()
            stop.wait(LOOP_SECONDS)
        until = self._clock.monotonic() + FINISH_SECONDS
        for tracker in self._trackers:
            tracker.wake()
        for tracker in self._trackers:
            tracker.resign(until - self._clock.monotonic())

    def status(self) -> dict[str, Any]:
        """What the health file shows, by driver."""
        return {tracker.name: tracker.status() for tracker in self._trackers}

    def _record(self) -> None:
        """Record what is pending, and since when the oldest is; and, now and then, what all jobs do."""
        now = self._clock.monotonic()
        decided = [record.decided_at for tracker in self._trackers for record in tracker.pending()]
        oldest = now - min(decided) if decided else 0.0
        self._metrics.results(len(decided), oldest)
        self._metrics.set_aside(lambda: sum(tracker.set_aside() for tracker in self._trackers))
        self._metrics.jobs(lambda: [seen for tracker in self._trackers for seen in tracker.jobs()], now)


class DriverTracker:
    """One driver's jobs."""

    def __init__(self, driver: Driver, holder: str, settings: Settings, shared: Shared) -> None:
        self.name = driver.name
        self._driver = driver
        self._accepted = AcceptedResults(shared.tasks.signal(), shared.clock)
        self._leader = leadership(driver.election(), holder, self._accepted, shared.clock, shared.random, shared.tasks)
        self._settings = settings
        self._shared = shared
        self._clock = shared.clock
        self._looped_at: float | None = None
        self._ended = shared.tasks.signal()
        self._term: Term | None = None
        self._set_aside = SetAsideCount(driver, shared.clock, shared.tasks)

    def __repr__(self) -> str:
        return f"{self.name}: {self._term.ledger if self._term else 'waits'}"

    @property
    def stuck(self) -> bool:
        """Whether its loop has not run for STUCK_SECONDS. A tracker that waits for the leadership is not."""
        return self._looped_at is not None and self._clock.monotonic() - self._looped_at > STUCK_SECONDS

    def run(self, stop: Signal) -> None:
        """Lead whenever no other tracker does, until `stop` is set."""
        self._shared.metrics.leading(self.name, False)
        while not stop.is_set():
            if self._leader.acquire(stop):
                self._shared.metrics.leading(self.name, True)
                self._lead(stop)
                self._shared.metrics.leading(self.name, False)
                self._looped_at = None
        self._ended.set()

    def set_aside(self) -> int:
        """How many jobs are set aside, as last counted; 0 if this process does not lead. Counts anew if that is due."""
        if (term := self._term) is None:
            return 0
        resent = sum(record.seen.resent for record in term.ledger.pending())
        return self._set_aside.latest((term.steps.aside_changes, resent))

    def pending(self) -> list[Record]:
        """The results that are pending, as far as this process leads."""
        return self._term.ledger.pending() if self._term else []

    def jobs(self) -> list[Observation]:
        """What was last seen of each job that is not reported, as far as this process leads."""
        return [record.seen for record in self._term.ledger.records()] if self._term else []

    def status(self) -> dict[str, Any]:
        """Whether this process leads; if so, when it last heard from the cluster, and what is pending or refused."""
        term = self._term
        if term is None:
            return {"leads": False}
        age = self._clock.monotonic() - term.heard
        pending = self.pending()
        stale = [source.name for source in term.followed if source.stale]
        return {
            "leads": True,
            "heard_seconds_ago": round(age, 1),
            "stale": stale,
            "jobs": len(term.ledger),
            "pending": len(pending),
            "refused": unaccepted(pending, self._clock),
        }

    def wake(self) -> None:
        """Let its loop come round, to notice that it is to stop."""
        if term := self._term:
            term.wake()

    def resign(self, seconds: float) -> None:
        """Let another tracker lead, once this one has finished, or after so many seconds."""
        self._ended.wait(max(0.0, seconds))
        self._leader.release()

    def _lead(self, stop: Signal) -> None:
        term = self._term = Term(self._driver, self._leader.held, stop, self._settings, self._shared, self._accepted)
        self._set_aside = SetAsideCount(self._driver, self._clock, self._shared.tasks)
        term.begin()
        try:
            while not stop.is_set() and self._leader.held():
                self._looped_at = self._clock.monotonic()
                term.wait(min(term.dispatch(), LOOP_SECONDS))
                age = self._clock.monotonic() - term.heard
                self._shared.metrics.source_alive(self.name, self._clock.wall() - age)
            term.finish()
        finally:
            term.close()
            self._term = None
