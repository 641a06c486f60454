"""The tracker: sees to it that atlas hears of every job's end, and lets jobs go once it has.

    every driver ─▶ observe ─▶ classify ─▶ publish ─▶ mark as reported

It looks at everything that is there, again and again, and keeps nothing that matters: what is owed is what has ended
and is not marked. So it may be killed at any moment and started anywhere; at worst a result is sent twice, under the
same id. One that atlas does not take is tried for ever, with growing pauses. A driver that fails does not stop the
others, and no result keeps us from looking: what was seen is dealt with once all has been seen, who has waited longest
first, for as long as a round may take.

What it has seen and then is no longer there, unreported, was removed by somebody: that is told as well.

Two trackers on one host would only double the work, so the second waits for the first's lock.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Protocol

import msgspec

from runner.drivers.driver import Driver
from runner.errors import OrchestratorError
from runner.observation import Observation, Outcome
from runner.runtime import logs
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.security.masking import mask
from runner.tracker.outcomes import classify
from runner.tracker.results import Result, result

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 4.0, 300.0
"""Seconds before a result that atlas did not take is sent again: doubled each time, with jitter (see Backoff)."""

COLLECT_SECONDS = 60.0
"""Between two clean-ups."""

ROUND_SECONDS = 30.0
"""For sending results, before we look again: an atlas that hangs takes ten of these for each."""

LOG_LINES = 20
"""Of a failed job's log, as evidence."""


class Publisher(Protocol):
    """Sends a result to atlas; raises one of our errors where it was not taken."""

    def publish(self, name: str, result: Result) -> None:
        """Returns once it has been taken."""


class Owed(msgspec.Struct):
    """What atlas has not taken yet: the end as it was seen, when it is due, and how long to wait after that."""

    seen: Observation
    outcome: Outcome
    due: float
    backoff: Backoff
    missing: bool = False
    """Whether it is there no more."""


class Tracker:
    """One round after another over all drivers."""

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
        self._watches = {name: _Watch(driver, publisher, retention, clock, random) for name, driver in drivers.items()}
        self._drivers = drivers
        self._retention = retention
        self._orphan_age = orphan_age
        self._clock = clock
        self._collected = float("-inf")

    def __repr__(self) -> str:
        return f"Tracker({', '.join(map(repr, self._watches.values()))})"

    def run(self, stop: threading.Event, interval: float) -> None:
        """Rounds until told to stop; `interval` seconds apart."""
        while not stop.is_set():
            self.round()
            stop.wait(interval)

    def round(self) -> None:
        """Look at every job once and do what is due."""
        for name, watch in self._watches.items():
            try:
                watch.look()
            except OrchestratorError as error:
                log.warning("not all jobs of %s can be seen at the moment: %s", name, error.detail)
            except Exception:
                log.exception("a look at %s failed for a reason of ours", name)
            watch.tell()
        if self._clock.monotonic() - self._collected >= COLLECT_SECONDS:
            self._collected = self._clock.monotonic()
            self._collect()

    def _collect(self) -> None:
        for name, driver in self._drivers.items():
            try:
                driver.collect(self._retention, self._orphan_age)
            except OrchestratorError as error:
                log.warning("%s could not be cleaned up: %s", name, error.detail)
            except Exception:
                log.exception("cleaning up %s failed for a reason of ours", name)


class _Watch:
    """What is known of one driver's jobs, and owed."""

    def __init__(self, driver: Driver, publisher: Publisher, retention: float, clock: Clock, random: Random) -> None:
        self._driver = driver
        self._publisher = publisher
        self._retention = retention
        self._clock = clock
        self._random = random
        self._looked = float("-inf")
        self._hints: dict[str, Observation] = {}
        self._owed: dict[str, Owed] = {}

    def __repr__(self) -> str:
        return f"{self._driver.name}: {len(self._owed)} results owed"

    def look(self) -> None:
        """Note every job. What was there and is not any more, once all has been seen, was removed by somebody.

        Unless we have not looked for so long that another tracker may have told of it, and the cluster let it go.
        """
        if self._clock.monotonic() - self._looked >= self._retention:
            self._hints.clear()
        reported, others = set(), set()
        for seen in self._driver.observe():
            if seen.reported:
                reported.add(seen.name)
            else:
                others.add(seen.name)
                self._note(seen)
        for name in reported - others:  # by another tracker
            self._forget(name)
        for name in {*self._hints, *self._owed} - others:
            self._note_missing(name)
        self._looked = self._clock.monotonic()

    def tell(self) -> None:
        """Tell atlas what is due, who has waited longest first, until the round is over."""
        began = self._clock.monotonic()
        due = [(owed.due, name) for name, owed in self._owed.items() if owed.due <= began]
        for _, name in sorted(due):
            if self._clock.monotonic() - began > ROUND_SECONDS:
                break
            self._try(name)

    def _note(self, seen: Observation) -> None:
        outcome = classify(self._with_hint(seen))
        if owed := self._owed.get(seen.name):
            if outcome and seen.cancelled == owed.seen.cancelled and not owed.missing:
                return  # the same end, seen again: with time evidence goes, and none comes
            self._forget(seen.name)  # a new job under the old name, or its cancellation
            outcome = classify(seen)
        if outcome:
            self._owed[seen.name] = self._due_now(seen, outcome)
        elif not self._says_less(seen):
            self._hints[seen.name] = seen

    def _says_less(self, seen: Observation) -> bool:
        """Whether it waits as before, and what kept it waiting is only out of sight: its pod may just be going."""
        hint = self._hints.get(seen.name)
        told = seen.image_error or seen.configuration_error or seen.unschedulable
        return bool(hint and hint.phase == seen.phase == "waiting" and not told)

    def _note_missing(self, name: str) -> None:
        if name not in self._owed:
            seen = msgspec.structs.replace(self._hints[name], phase="gone", ended=self._clock.wall())
            outcome = classify(seen)
            assert outcome is not None
            self._owed[name] = self._due_now(seen, outcome)
        self._owed[name].missing = True

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

    def _due_now(self, seen: Observation, outcome: Outcome) -> Owed:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        return Owed(seen, outcome, self._clock.monotonic(), backoff)

    def _try(self, name: str) -> None:
        owed = self._owed[name]
        try:
            self._report(owed)
        except OrchestratorError as error:
            log.warning("%s: %s; next try in %.0f s", name, error.detail, self._postpone(owed))
        except Exception:
            log.exception("%s could not be told for a reason of ours; next try in %.0f s", name, self._postpone(owed))
        else:
            self._forget(name)

    def _postpone(self, owed: Owed) -> float:
        pause = owed.backoff.next()
        owed.due = self._clock.monotonic() + pause
        return pause

    def _report(self, owed: Owed) -> None:
        name = owed.seen.name
        told = self._with_log(owed)
        body = result(owed.seen, told)
        if body is not None:
            self._publisher.publish(name, body)
        if not owed.missing:  # else there is nothing to mark, and a new job of that name must not be
            self._driver.mark_reported(name, owed.outcome)
        sent = "published by us" if body else "published by the job"
        logs.log_command("ended", job=name, reason=owed.outcome.reason, code=owed.outcome.code, result=sent)

    def _with_log(self, owed: Owed) -> Outcome:
        """The last lines that a failed job printed, masked, as evidence."""
        err = owed.outcome.err
        if owed.outcome.code not in (0, 5000) and not owed.seen.log_tail and not owed.missing:
            with suppress(OrchestratorError):
                if tail := self._driver.logs(owed.seen.name, lines=LOG_LINES):
                    err = f"{err}\nlast lines of the log:\n{tail}".strip()
        return msgspec.structs.replace(owed.outcome, err=mask(err))

    def _forget(self, name: str) -> None:
        self._owed.pop(name, None)
        self._hints.pop(name, None)


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
