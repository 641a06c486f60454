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
from random import Random
from typing import Any

import msgspec

from runner.config.types import LimitsSection
from runner.drivers.driver import Driver, Retention
from runner.errors import OrchestratorError
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.runtime.tasks import Signal, Tasks
from runner.tracker.circuit_breaker import ResultBreaker
from runner.tracker.following import FollowedSource
from runner.tracker.leader import Leadership, leadership
from runner.tracker.ledger.ledger import Ledger
from runner.tracker.ledger.record import Record, Step
from runner.tracker.metrics import TrackerMetrics
from runner.tracker.steps import EVIDENCE_SECONDS, Publisher, Steps
from runner.tracker.workers import Workers

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a failed step is tried again: doubled each time, with jitter (see Backoff)."""

LOOP_SECONDS = 1.0
"""The longest wait of a loop, so that it notices a lost leadership and a signal to stop."""

STUCK_SECONDS = 20.0
"""A loop that has not come round for so long is stuck, and the process must be replaced."""

CLEANUP_SECONDS = 60.0
"""Seconds between two removals of old jobs."""

CLUSTER_REQUESTS, LOGS = 8, 64
"""The most requests to the cluster, and the most logs, that are in flight at once, for each driver. Each keeps its
connection, and Nomad accepts 100 from one host (`http_max_conns_per_client`), the sidecar's included. So many logs are
in flight only while nodes do not answer."""

_POOLS: tuple[tuple[Step, str], ...] = (
    ("find", "cluster"),
    ("explain", "cluster"),
    ("end", "cluster"),
    ("mark", "cluster"),
    ("set_aside", "cluster"),
    ("evidence", "logs"),
    ("publish", "atlas"),
)
"""Which workers carry out a step."""


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says about the tracker. Seconds."""

    limits: LimitsSection
    publishers: int
    interval: float
    orphaned: float


class Shared(msgspec.Struct, frozen=True):
    """What the trackers of all drivers share."""

    publisher: Publisher
    breaker: ResultBreaker
    metrics: TrackerMetrics
    clock: Clock
    random: Random
    tasks: Tasks


class Tracker:
    """Follows the jobs of all drivers, each in a task of its own."""

    def __init__(self, drivers: Mapping[str, Driver], settings: Settings, shared: Shared, holder: str) -> None:
        self._clock = shared.clock
        self._tasks = shared.tasks
        self._trackers = [
            DriverTracker(
                driver,
                leadership(driver.election(), holder, shared.clock, shared.random, shared.tasks),
                settings,
                shared,
            )
            for driver in drivers.values()
        ]
        shared.metrics.watch(
            lambda: sum(len(tracker.pending()) for tracker in self._trackers),
            self._oldest,
            lambda: sum(tracker.set_aside for tracker in self._trackers),
        )

    def __repr__(self) -> str:
        return f"Tracker({', '.join(map(repr, self._trackers))})"

    def run(self, stop: Signal, beat: Callable[[Mapping[str, Any]], None] = lambda status: None) -> None:
        """Follow all jobs until `stop` is set. Calls `beat` with the status each second unless a part is stuck."""
        for tracker in self._trackers:
            self._tasks.start(f"tracker {tracker.name}", partial(tracker.run, stop))
        while not stop.is_set():
            if not any(tracker.stuck for tracker in self._trackers):
                beat(self.status())
            stop.wait(LOOP_SECONDS)
        for tracker in self._trackers:
            tracker.resign()

    def status(self) -> dict[str, Any]:
        """What the health file shows, by driver."""
        return {tracker.name: tracker.status() for tracker in self._trackers}

    def _oldest(self) -> float:
        """For how many seconds the oldest result has been pending."""
        decided = [record.decided_at for tracker in self._trackers for record in tracker.pending()]
        return self._clock.monotonic() - min(decided) if decided else 0.0


class DriverTracker:
    """One driver's jobs."""

    def __init__(self, driver: Driver, leader: Leadership, settings: Settings, shared: Shared) -> None:
        self.name = driver.name
        self._driver = driver
        self._leader = leader
        self._settings = settings
        self._shared = shared
        self._clock = shared.clock
        self._came_round: float | None = None
        self._term: Term | None = None
        self._set_aside = 0

    def __repr__(self) -> str:
        return f"{self.name}: {self._term.ledger if self._term else 'waits'}"

    @property
    def stuck(self) -> bool:
        """Whether its loop has not come round for STUCK_SECONDS. A tracker that waits for the leadership is not."""
        return self._came_round is not None and self._clock.monotonic() - self._came_round > STUCK_SECONDS

    def run(self, stop: Signal) -> None:
        """Lead whenever no other tracker does, until `stop` is set."""
        while not stop.is_set():
            if self._leader.acquire(stop):
                self._shared.metrics.leading(self.name, True)
                self._lead(stop)
                self._shared.metrics.leading(self.name, False)
                self._came_round = None

    @property
    def set_aside(self) -> int:
        """How many results this process has set aside."""
        return self._set_aside + (self._term.steps.set_aside if self._term else 0)

    def pending(self) -> list[Record]:
        """The results that are pending, as far as this process leads."""
        return self._term.ledger.pending() if self._term else []

    def status(self) -> dict[str, Any]:
        """Whether this process leads; if so, when it last heard from the cluster, and what is pending."""
        term = self._term
        if term is None:
            return {"leads": False}
        age = self._clock.monotonic() - term.ledger.heard
        stale = [source.name for source in term.followed if source.stale]
        return {
            "leads": True,
            "heard_seconds_ago": round(age, 1),
            "stale": stale,
            "jobs": len(term.ledger),
            "pending": len(self.pending()),
        }

    def resign(self) -> None:
        """Let another tracker lead."""
        self._leader.release()

    def _lead(self, stop: Signal) -> None:
        term = self._term = Term(self._driver, self._leader.held, self._settings, self._shared)
        term.begin()
        try:
            while not stop.is_set() and self._leader.held():
                self._came_round = self._clock.monotonic()
                term.wait(min(term.dispatch(), LOOP_SECONDS))
                age = self._clock.monotonic() - term.ledger.heard
                self._shared.metrics.source_alive(self.name, self._clock.wall() - age)
        finally:
            term.close()
            self._set_aside, self._term = self.set_aside, None


class Term:
    """One driver's jobs while this process leads: begins with an empty ledger, and is closed with the leadership."""

    def __init__(self, driver: Driver, leads: Callable[[], bool], settings: Settings, shared: Shared) -> None:
        self._driver = driver
        self._settings = settings
        self._shared = shared
        self._clock = shared.clock
        self._work = shared.tasks.signal()
        self._closed = shared.tasks.signal()
        self.ledger = Ledger(settings.limits, shared.clock, self._backoff, self._work.set)
        self.followed: list[FollowedSource] = []
        self.steps = Steps(driver, self.ledger, shared.publisher, shared.breaker, leads, shared.clock, shared.metrics)
        sizes = {"cluster": CLUSTER_REQUESTS, "logs": LOGS, "atlas": settings.publishers}
        self._pools = {
            name: Workers(f"{driver.name} {name}", size, shared.tasks, self._work.set) for name, size in sizes.items()
        }

    def begin(self) -> None:
        """Follow the sources, and reconcile, in tasks of their own."""
        for source in self._driver.sources():
            followed = FollowedSource(source, self.ledger, self._clock, self._shared.random.random)
            self.followed.append(followed)
            self._shared.tasks.start(source.name, partial(followed.run, self._closed))
        self._shared.tasks.start(f"{self._driver.name} reconcile", self._reconcile)

    def wait(self, seconds: float) -> None:
        """Wait until something has changed, or a step has ended."""
        self._work.wait(seconds)
        self._work.clear()

    def dispatch(self) -> float:
        """Start every step that is due and has a free worker. Gives the seconds until the next one is due."""
        self.ledger.judge_due()
        late = self.steps.overdue_evidence()
        open_steps = [step for step, pool in _POOLS if self._start(step, self._pools[pool])]
        due = self.ledger.next_due(open_steps)
        return min([each for each in (late, due) if each is not None], default=LOOP_SECONDS)

    def close(self) -> None:
        """Leave everything as it is: another tracker follows the jobs."""
        self.ledger.closed = True
        self._closed.set()
        for pool in self._pools.values():
            pool.stop()

    def _start(self, step: Step, pool: Workers) -> bool:
        """Start the due steps of one kind. Whether one that becomes due could be started."""
        breaker = self._shared.breaker
        while pool.free:
            taken = self.ledger.take(step)
            if taken is None:
                return True
            if step == "publish" and not breaker.allow(taken.seen.name):
                self.ledger.give_back(taken.record)
                return False
            if step == "evidence":
                self.steps.evidence_began(taken.record)
            pool.run(partial(self.steps.carry_out, step, taken))
        if step == "evidence":
            self._skip_evidence()
        return False

    def _skip_evidence(self) -> None:
        """All workers wait for logs. Results that have waited long enough go without theirs."""
        while taken := self.ledger.take("evidence", self._clock.monotonic() - EVIDENCE_SECONDS):
            self.ledger.did(taken.record, "evidence")

    def _reconcile(self) -> None:
        cleaned = self._clock.monotonic()
        expired = Retention(self._settings.limits.retention_seconds, self._settings.orphaned)
        while not self._closed.is_set():
            clean = self._clock.monotonic() - cleaned >= CLEANUP_SECONDS
            try:
                self._driver.reconcile(expired if clean else None)
            except OrchestratorError as error:
                log.warning("not all jobs of %s can be reconciled at the moment: %s", self._driver.name, error.detail)
            except Exception:
                log.exception("not all jobs of %s can be reconciled: internal error", self._driver.name)
            if clean:
                cleaned = self._clock.monotonic()
            self._closed.wait(self._settings.interval)

    def _backoff(self) -> Backoff:
        return Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._shared.random.random)
