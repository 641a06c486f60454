"""Each driver's cluster as the suite sees it, and what can be shown on it.

A module here is named after its driver and has `opened(request)`, a context manager that gives the cluster.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from runner.drivers.driver import Driver
from runner.jobs import JobSpec, State
from runner.observation import Observation, Outcome
from runner.tracker.outcomes import classify
from tests.conformance import jobs
from tests.conformance.jobs import Program, SecretResolver
from tests.deadlines import within
from tests.rounds import observed

Ability = Literal["ends", "runs", "shares", "collects", "remembers", "looks", "bounds", "variables"]

ABILITIES: dict[str, frozenset[Ability]] = {
    # ends: a job comes to its end, by itself or played.
    # runs: its programs really run, see their arguments and environment, and are ended at the deadline.
    # shares: what one process has made, another sees.
    # remembers: knows without asking whether a job has its secrets. Elsewhere a repeat may bring them again, in vain.
    # looks: knows whether a job is there before its secrets are resolved. Elsewhere they may be resolved in vain.
    # bounds: runs no more jobs at once than it is told to (`parallelism`); elsewhere that is the cluster's business.
    # variables: keeps a name and its secrets in a Variable, beside the job.
    # collects: ended jobs stay until the driver is told to remove them.
    "memory": frozenset({"ends", "remembers", "looks"}),
    "printer": frozenset({"ends", "remembers", "looks"}),
    "local": frozenset({"ends", "runs", "shares", "collects", "remembers", "looks", "bounds"}),
    "kubernetes": frozenset({"ends", "runs", "shares", "looks"}),
    "nomad": frozenset({"ends", "runs", "shares", "variables"}),
}

PATIENCE = 10.0
"""Seconds that a driver is given for one call."""


class Cluster(ABC):
    """One cluster of one kind. Tests share nothing but, perhaps, the cluster: every job has a name of its own."""

    image: ClassVar[str] = "shell"
    """Holds /bin/sh."""
    parallelism: ClassVar[int] = 0
    end_seconds: ClassVar[float] = 20.0
    """Within which a short job ends."""

    def __init__(self) -> None:
        self.resolver = SecretResolver()
        self.driver = self.another()

    @abstractmethod
    def another(self) -> Driver:
        """One more driver on the same cluster, such as another process would have."""

    @abstractmethod
    def state(self) -> object:
        """Everything that a driver can change here, as a value: the cluster's state, or the writes that were sent."""

    def carry_on(self, job: JobSpec) -> None:  # noqa: B027  (most clusters need no help)
        """Play what a real cluster does by itself."""

    def job(self, main: Program | str = Program(), **fields: Any) -> JobSpec:  # noqa: B008  (frozen)
        """A job for this cluster, see `jobs.job`."""
        return jobs.job(self.image, main, **fields)

    def submit(self, job: JobSpec, driver: Driver | None = None) -> State:
        return (driver or self.driver).submit(job, within(PATIENCE))

    def cancel(self, name: str, *, tombstone: bool = True, run_id: str = "cancel-1") -> State | None:
        return self.driver.cancel(jobs.cancellation(name, run_id), within(PATIENCE), tombstone=tombstone)

    def seen(self, name: str) -> Observation | None:
        """The one job of that name; more than one would be a broken promise."""
        found = [each for each in observed(self.driver) if each.name == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def running(self, job: JobSpec) -> Observation:
        """The job, once it runs."""
        self.carry_on(job)
        return self._await(job.name, lambda seen: seen.phase == "running", "ran")

    def end(self, job: JobSpec) -> Outcome:
        """How it ended, once it has."""
        self.carry_on(job)
        outcome = classify(self.ended(job.name))
        assert outcome is not None
        return outcome

    def ended(self, name: str) -> Observation:
        """The job of that name, once it has ended."""
        return self._await(name, lambda seen: classify(seen) is not None, "ended")

    def _await(self, name: str, reached: Callable[[Observation], bool], what: str) -> Observation:
        until = time.monotonic() + self.end_seconds
        while True:
            seen = self.seen(name)
            if seen is not None and reached(seen):
                return seen
            assert time.monotonic() < until, f"{name} never {what}: {seen}"
            time.sleep(0.02)
