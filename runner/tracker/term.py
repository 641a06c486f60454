"""One driver's jobs for as long as this process leads: its sources, its ledger, and the workers that carry out steps.

    sources ─▶ ledger ─▶ due steps ─▶ workers: a group each for the cluster, events, marks, logs and atlas

The loop starts what is due while a group has capacity. A worker that has finished takes the next step of its group by
itself, so that in a burst no step waits for the loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from runner.drivers.driver import Driver, Retention
from runner.errors import OrchestratorError
from runner.runtime.backoff import Backoff
from runner.runtime.tasks import Signal
from runner.tracker.following import FollowedSource
from runner.tracker.leadership.accepted import MOST_STORED, AcceptedResults
from runner.tracker.ledger.ledger import Ledger
from runner.tracker.ledger.record import Step, Taken
from runner.tracker.shared import Settings, Shared
from runner.tracker.steps import EVIDENCE_SECONDS, Steps
from runner.tracker.workers import Work, Workers

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a failed step is tried again: doubled each time, with jitter (see Backoff)."""

LOOP_SECONDS = 1.0
"""The longest wait of a loop, so that it notices a lost leadership and a signal to stop."""

RECONCILE_SHARE, LONGEST_RECONCILE_PAUSE = 0.1, 30.0
"""The share of the time for which a driver reconciles, and the longest pause that this may cost: a round of more than
3 s takes a larger share. On Nomad, each round lists the retained jobs as well. One that fails is repeated after the
usual pause: what is due has waited for the cluster to answer, and may decide which of two claims is reported."""

CLEANUP_SECONDS = 60.0
"""Seconds between two removals of old jobs."""

CLUSTER_REQUESTS, EVENTS, MARKS, LOGS = 4, 4, 4, 64
"""The most requests to the cluster, lists of events, marks, and logs that are in flight at once, for each driver. Each
keeps its connection, and Nomad accepts 100 from one host (`http_max_conns_per_client`), the sidecar's included. So many
logs are in flight only while nodes do not answer."""

MARKS_MEANWHILE = 1
"""The most marks in flight while every publisher is busy: results come first. A mark that is late does no harm: after a
crash, its result is sent again under the same id."""

UNSTORED = 32
"""While so many accepted results are not in the record of the leadership yet, no other one is published."""

UNMARKED = MOST_STORED - 100
"""From so many accepted results without a mark on, marks get all their workers even while every publisher is busy: a
crash is to repeat few results."""

FINISH_SECONDS, LAST_MARKS = 0.7, 16
"""How long, at most, a tracker that is to stop still marks what atlas has accepted, and how many at once. Another one
leads within two seconds of the signal, and reads the record each second. Mostly nothing is left to be marked."""

QUICK_LOGS, QUICK_SECONDS = 8, 0.1
"""The most logs that are read at once if all nodes answer within so many seconds: more would only delay each other. For
each one that takes longer, another one may begin."""

_STEPS_OF: dict[str, tuple[Step, ...]] = {
    "cluster": ("find", "end", "set_aside"),
    "events": ("explain",),
    "marks": ("mark",),
    "logs": ("evidence",),
    "atlas": ("publish",),
}
"""The steps that each group of workers carries out."""


class Term:
    """One driver's jobs while this process leads: begins with an empty ledger, and is closed with the leadership."""

    def __init__(
        self,
        driver: Driver,
        leads: Callable[[], bool],
        stop: Signal,
        settings: Settings,
        shared: Shared,
        accepted: AcceptedResults,
    ) -> None:
        """Once `stop` is set, no step begins but marks. See `finish`."""
        self._driver = driver
        self._settings = settings
        self._shared = shared
        self._clock = shared.clock
        self._leads = leads
        self._stop = stop
        self._accepted = accepted
        accepted.changed = self._changed
        self._work = shared.tasks.signal()
        self._closed = shared.tasks.signal()
        self.ledger = Ledger(settings.limits, shared.clock, self._backoff, self._changed)
        self.followed: list[FollowedSource] = []
        self.steps = Steps(driver, self.ledger, leads, accepted, shared)
        self._wakes_at = math.inf
        sizes = {
            "cluster": CLUSTER_REQUESTS,
            "events": EVENTS,
            "marks": LAST_MARKS,
            "logs": LOGS,
            "atlas": settings.publishers,
        }
        self._workers = {name: self._group(name, size) for name, size in sizes.items()}

    def begin(self) -> None:
        """Follow the sources, and reconcile, in tasks of their own."""
        for source in self._driver.sources():
            followed = FollowedSource(source, self.ledger, self._clock, self._shared.random.random)
            self.followed.append(followed)
            self._shared.tasks.start(source.name, partial(followed.run, self._closed))
        self._shared.tasks.start(f"{self._driver.name} reconcile", self._reconcile)

    @property
    def heard(self) -> float:
        """When it last heard from the cluster, by its source that has been stale for the longest, if one is."""
        return min([self.ledger.heard, *(source.worked for source in self.followed if source.stale)])

    def wait(self, seconds: float) -> None:
        """Wait until a step is due that could not be started so far."""
        self._wakes_at = self._clock.monotonic() + seconds
        self._work.wait(seconds)
        self._wakes_at = math.inf
        self._work.clear()

    def wake(self) -> None:
        """Let `wait` return."""
        self._work.set()

    def dispatch(self) -> float:
        """Start every step that is due and has a free worker. Gives the seconds until the next one is due."""
        self.ledger.judge_due()
        late = self.steps.overdue_evidence()
        for name, group in self._workers.items():
            while work := self._next(name):
                group.run(work)
        self._skip_evidence()
        slow = None if self._has_capacity("logs") else QUICK_SECONDS
        due = self.ledger.next_due(self._open_steps())
        return min([each for each in (late, slow, due) if each is not None], default=LOOP_SECONDS)

    def finish(self) -> None:
        """Mark what atlas has accepted, for FINISH_SECONDS at most: the next tracker would publish it again."""
        until = self._clock.monotonic() + FINISH_SECONDS
        while (left := until - self._clock.monotonic()) > 0 and self._leads():
            while work := self._next("marks"):
                self._workers["marks"].run(work)
            if not (self._workers["atlas"].busy or self._workers["marks"].busy):
                break
            self._work.wait(left)
            self._work.clear()

    def close(self) -> None:
        """Leave everything as it is: another tracker follows the jobs."""
        self.ledger.closed = True
        self._closed.set()
        for group in self._workers.values():
            group.stop()

    def _group(self, name: str, size: int) -> Workers:
        more = partial(self._next, name, asked_by_worker=True)
        return Workers(f"{self._driver.name} {name}", size, self._shared.tasks, more, self._changed)

    def _next(self, name: str, *, asked_by_worker: bool = False) -> Work | None:
        """The step that a group carries out next; None if none is due, or there is no capacity. See `_has_capacity`."""
        if self._stop.is_set() and name != "marks":
            return None
        if not (self._has_capacity(name, asked_by_worker=asked_by_worker) and self._leads()):
            return None
        for step in _STEPS_OF[name]:
            if taken := self._take(step):
                return partial(self.steps.carry_out, step, taken)
        return None

    def _take(self, step: Step) -> Taken | None:
        taken = self.ledger.take(step)
        if taken and step == "publish" and not self._shared.breaker.allow(taken.seen.name):
            self.ledger.give_back(taken.record)
            return None
        if taken and step == "evidence":
            self.steps.evidence_began(taken.record)
        return taken

    def _has_capacity(self, name: str, *, asked_by_worker: bool = False) -> bool:
        """Whether a group may begin a step.

        A worker that asks for its next step has finished the last one, so it does not count as busy.
        """
        group = self._workers[name]
        busy, capacity = group.busy - asked_by_worker, group.limit
        if name == "atlas" and self._accepted.unstored >= UNSTORED:
            return False
        if name == "marks" and not self._stop.is_set():
            publishing = self._workers["atlas"].busy >= self._settings.publishers
            capacity = MARKS_MEANWHILE if publishing and len(self._accepted) < UNMARKED else MARKS
        elif name == "logs":
            slow = busy - self.steps.began_within(QUICK_SECONDS)
            capacity = min(capacity, QUICK_LOGS + 2 * slow)
        return busy < capacity

    def _open_steps(self) -> list[Step]:
        """The steps that could be started."""
        probes = self._clock.monotonic() >= self._shared.breaker.due
        return [
            step
            for name, steps in _STEPS_OF.items()
            if self._has_capacity(name) and (name != "atlas" or probes)
            for step in steps
        ]

    def _changed(self) -> None:
        """Wake the loop if it could start something before it wakes by itself."""
        if self._work.is_set():  # it wakes anyway, and looks at everything then
            return
        if self._stop.is_set():
            self._work.set()
            return
        due = self.ledger.next_due(self._open_steps())
        if due is not None and self._clock.monotonic() + due < self._wakes_at:
            self._work.set()

    def _skip_evidence(self) -> None:
        """If all workers wait for logs, results that have waited long enough go without theirs."""
        if self._workers["logs"].busy < LOGS:
            return
        while taken := self.ledger.take("evidence", self._clock.monotonic() - EVIDENCE_SECONDS):
            self.ledger.did(taken.record, "evidence")

    def _reconcile(self) -> None:
        cleaned = self._clock.monotonic()
        expired = Retention(self._settings.limits.retention_seconds, self._settings.orphaned)
        while not self._closed.is_set():
            began = self._clock.monotonic()
            clean = began - cleaned >= CLEANUP_SECONDS
            pause = self._settings.interval
            try:
                self._driver.reconcile(expired if clean else None)
                took = self._clock.monotonic() - began
                pause = max(pause, min(took / RECONCILE_SHARE, LONGEST_RECONCILE_PAUSE))
            except OrchestratorError as error:
                log.warning("not all jobs of %s can be reconciled at the moment: %s", self._driver.name, error.detail)
            except Exception:
                log.exception("not all jobs of %s can be reconciled: internal error", self._driver.name)
            if clean:
                cleaned = self._clock.monotonic()
            self._closed.wait(pause)

    def _backoff(self) -> Backoff:
        return Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._shared.random.random)
