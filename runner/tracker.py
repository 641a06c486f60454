"""The tracker: sees to it that atlas hears of every job's end, and lets jobs go once it has.

    every driver ─▶ observe ─▶ classify ─▶ publish ─▶ mark as reported

It looks at everything that is there, again and again, and keeps nothing that matters: what is owed is what has ended
and is not marked. So it may be killed at any moment and started anywhere; at worst a result is sent twice, under the
same id. One that atlas does not take is tried for ever, with growing pauses. A driver that fails does not stop the
others.

Two trackers on one host would only double the work, so the second waits for the first's lock.
"""

from __future__ import annotations

import fcntl
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from runner import logs
from runner.drivers import Driver
from runner.errors import OrchestratorError
from runner.masks import mask
from runner.outcomes import Observation, Outcome, classify
from runner.results import Result, result

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds before a result that atlas did not take is sent again: doubled each time, with jitter."""

COLLECT_SECONDS = 60.0
"""Between two clean-ups."""

LOG_LINES = 20
"""Of a failed job's log, as evidence."""


class Publisher(Protocol):
    """Sends a result to atlas; raises one of our errors where it was not taken."""

    def publish(self, name: str, result: Result) -> None:
        """Returns once it has been taken."""


class Owed(msgspec.Struct):
    """A result that atlas has not taken yet: how often it was tried, and when it is due again."""

    tries: int = 0
    due: float = 0.0


class Tracker:
    """One round after another over all drivers."""

    def __init__(
        self,
        drivers: Mapping[str, Driver],
        publisher: Publisher,
        *,
        retention: float,
        orphan_age: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._drivers = drivers
        self._publisher = publisher
        self._retention = retention
        self._orphan_age = orphan_age
        self._clock = clock
        self._owed: dict[str, Owed] = {}
        self._hints: dict[str, Observation] = {}
        self._collected = float("-inf")

    def __repr__(self) -> str:
        return f"Tracker({', '.join(self._drivers)}; {len(self._owed)} results owed)"

    def run(self, stop: threading.Event, interval: float) -> None:
        """Rounds until told to stop; `interval` seconds apart."""
        while not stop.is_set():
            self.round()
            stop.wait(interval)

    def round(self) -> None:
        """Look at every job once and do what is due."""
        for name, driver in self._drivers.items():
            try:
                self._look(driver)
            except OrchestratorError as error:
                log.warning("the jobs of %s cannot be seen at the moment: %s", name, error.detail)
            except Exception:
                log.exception("a round over %s failed for a reason of ours", name)
        if self._clock() - self._collected >= COLLECT_SECONDS:
            self._collected = self._clock()
            self._collect()

    def _look(self, driver: Driver) -> None:
        seen_now = set()
        for seen in driver.observe():
            seen_now.add(seen.name)
            if not seen.reported:
                self._consider(driver, seen)
        self._forget({name for name, hint in self._hints.items() if hint.driver == driver.name} - seen_now)

    def _consider(self, driver: Driver, seen: Observation) -> None:
        """One job that has not been reported."""
        outcome = classify(self._with_hint(seen))
        if outcome is None:
            self._hints[seen.name] = seen
            return
        owed = self._owed.setdefault(seen.name, Owed())
        if self._clock() < owed.due:
            return
        try:
            self._report(driver, seen, outcome)
        except OrchestratorError as error:
            owed.tries += 1
            # S311: jitter is no secret
            pause = min(FIRST_PAUSE * 2 ** min(owed.tries, 20), LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
            owed.due = self._clock() + pause
            log.warning("%s: %s; next try in %.0f s", seen.name, error.detail, pause)
        else:
            self._forget({seen.name})

    def _with_hint(self, seen: Observation) -> Observation:
        """A cluster may take the evidence away with the pod when time runs out: use what was seen while it waited."""
        hint = self._hints.get(seen.name)
        if hint is None or not seen.timed_out or seen.main_exit is not None:
            return seen
        return msgspec.structs.replace(
            seen,
            image_error=seen.image_error or hint.image_error,
            configuration_error=seen.configuration_error or hint.configuration_error,
            unschedulable=seen.unschedulable or (hint.unschedulable if hint.phase == "waiting" else ""),
        )

    def _report(self, driver: Driver, seen: Observation, outcome: Outcome) -> None:
        told = self._with_log(driver, seen, outcome)
        body = result(seen, told)
        if body is not None:
            self._publisher.publish(seen.name, body)
        driver.mark_reported(seen.name, outcome)
        sent = "published by us" if body else "published by the job"
        logs.journal("ended", job=seen.name, reason=outcome.reason, code=outcome.code, result=sent)

    def _with_log(self, driver: Driver, seen: Observation, outcome: Outcome) -> Outcome:
        """The last lines that a failed job printed, masked, as evidence."""
        err = outcome.err
        if outcome.code not in (0, 5000) and not seen.log_tail:
            with suppress(OrchestratorError):
                if tail := driver.logs(seen.name, lines=LOG_LINES):
                    err = f"{err}\nlast lines of the log:\n{tail}".strip()
        return msgspec.structs.replace(outcome, err=mask(err))

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self._owed.pop(name, None)
            self._hints.pop(name, None)

    def _collect(self) -> None:
        for name, driver in self._drivers.items():
            try:
                driver.collect(self._retention, self._orphan_age)
            except OrchestratorError as error:
                log.warning("%s could not be cleaned up: %s", name, error.detail)
            except Exception:
                log.exception("cleaning up %s failed for a reason of ours", name)


@contextmanager
def only_one(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock in `path`; wait for whoever has it, or for `stop`. It goes with its holder's life (flock(2))."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(1.0)
        yield
