"""The tracker: publishes the end of every job to atlas, and removes old jobs once atlas has accepted the result.

    every driver ─▶ reconcile ─▶ list ─▶ ledger: classify ─▶ publish ─▶ mark as reported

It lists all jobs in every round and keeps no state that it needs: a result is pending if its job has ended and is not
marked. So the tracker may be killed at any moment and started on another host. At worst a result is sent twice, under
the same id. A result that atlas does not accept is sent again without limit, with growing pauses. A driver that fails
does not stop the others. Publishing is bounded in each round, so a slow atlas does not delay the next listing.

A job that was listed before, is not listed any more and was not reported has been deleted. That is reported too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Protocol

import msgspec

from runner.drivers.driver import Driver, Retention
from runner.errors import OrchestratorError
from runner.observation import Outcome
from runner.runtime import logs
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.security.masking import mask
from runner.tracker.ledger import Ledger, PendingResult
from runner.tracker.results import Result, result

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 4.0, 300.0
"""Seconds before a result that atlas did not accept is sent again: doubled each time, with jitter (see Backoff)."""

CLEANUP_SECONDS = 60.0
"""Seconds between two removals of old jobs."""

ROUND_SECONDS = 30.0
"""How long a round publishes before the next listing. A hanging atlas takes up to PUBLISH_SECONDS for each result."""

LOG_LINES = 20
"""How many lines of a failed job's log become evidence."""


class Publisher(Protocol):
    """Sends results to atlas."""

    def publish(self, name: str, result: Result) -> None:
        """Returns once atlas has accepted the result. Raises OrchestratorError if it has not."""


class Tracker:
    """Follows the jobs of all drivers, round after round."""

    def __init__(
        self,
        drivers: Mapping[str, Driver],
        publisher: Publisher,
        *,
        retention: float,
        orphan_age: float,
        clock: Clock,
        random: Random,
    ) -> None:
        def backoff() -> Backoff:
            return Backoff(FIRST_PAUSE, LONGEST_PAUSE, random.random)

        self._trackers = {
            name: DriverTracker(driver, publisher, Ledger(retention, clock, backoff), clock)
            for name, driver in drivers.items()
        }
        self._expired = Retention(retention, orphan_age)
        self._clock = clock
        self._cleaned = float("-inf")

    def __repr__(self) -> str:
        return f"Tracker({', '.join(map(repr, self._trackers.values()))})"

    def run(self, stop: threading.Event, interval: float) -> None:
        """Rounds, `interval` seconds apart, until `stop` is set."""
        while not stop.is_set():
            self.round()
            stop.wait(interval)

    def round(self) -> None:
        """Reconcile and list every driver's jobs once, and publish what is due."""
        for name, tracker in self._trackers.items():
            _attempt(tracker.reconcile, f"not all jobs of {name} can be reconciled at the moment")
            _attempt(tracker.list, f"not all jobs of {name} can be listed at the moment")
            tracker.publish_due()
        if self._clock.monotonic() - self._cleaned >= CLEANUP_SECONDS:
            self._cleaned = self._clock.monotonic()
            # After publishing: an old end is reported before its job is removed.
            for name, tracker in self._trackers.items():
                _attempt(partial(tracker.reconcile, self._expired), f"{name} could not be cleaned up")


def _attempt(step: Callable[[], object], failure: str) -> None:
    """A step that must not stop the others."""
    try:
        step()
    except OrchestratorError as error:
        log.warning("%s: %s", failure, error.detail)
    except Exception:
        log.exception("%s: internal error", failure)


class DriverTracker:
    """One driver's jobs."""

    def __init__(self, driver: Driver, publisher: Publisher, ledger: Ledger, clock: Clock) -> None:
        self._driver = driver
        self._publisher = publisher
        self._ledger = ledger
        self._clock = clock

    def __repr__(self) -> str:
        return f"{self._driver.name}: {len(self._ledger)} results pending"

    def reconcile(self, expired: Retention | None = None) -> None:
        """See Driver.reconcile."""
        self._driver.reconcile(expired)

    def list(self) -> None:
        """Bring the ledger up to date."""
        self._ledger.update(self._driver.list())

    def publish_due(self) -> None:
        """Publish the results that are due, the longest waiting first, until the round is over."""
        began = self._clock.monotonic()
        for name, pending in self._ledger.due():
            if self._clock.monotonic() - began > ROUND_SECONDS:
                break
            self._try(name, pending)

    def _try(self, name: str, pending: PendingResult) -> None:
        try:
            self._report(name, pending)
        except OrchestratorError as error:
            log.warning("%s: not reported: %s; next attempt in %.0f s", name, error.detail, self._ledger.postpone(name))
        except Exception:
            pause = self._ledger.postpone(name)
            log.exception("%s: not reported: internal error; next attempt in %.0f s", name, pause)
        else:
            self._ledger.forget(name)

    def _report(self, name: str, pending: PendingResult) -> None:
        body = result(pending.seen, self._with_log(pending))
        if body is not None:
            self._publisher.publish(name, body)
        if not pending.missing:  # a missing job cannot be marked, and a new job of that name must not be marked
            self._driver.mark_reported(name, pending.outcome)
        publisher = "published by the tracker" if body else "published by the job"
        logs.log_command("ended", job=name, reason=pending.outcome.reason, code=pending.outcome.code, result=publisher)

    def _with_log(self, pending: PendingResult) -> Outcome:
        """The outcome, with the last lines of a failed job's log added to its evidence, masked."""
        err = pending.outcome.err
        if pending.outcome.code not in (0, 5000) and not pending.seen.log_tail and not pending.missing:
            with suppress(OrchestratorError):
                if tail := self._driver.logs(pending.seen.name, lines=LOG_LINES):
                    err = f"{err}\nlast lines of the log:\n{tail}".strip()
        return msgspec.structs.replace(pending.outcome, err=mask(err))
