"""The cluster of each driver, as the suite uses it, and the table of the clusters' abilities.

A module here has the name of its driver, and a context manager `opened(request)` that gives the cluster.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from runner.drivers.driver import Driver
from runner.jobs import JobSpec, State
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance import jobs
from tests.conformance.jobs import Program, SecretResolver
from tests.harness.deadlines import within
from tests.harness.rounds import observed

Ability = Literal["ends", "runs", "shares", "collects", "remembers", "reads first", "bounds", "variables"]

ABILITIES: dict[str, frozenset[Ability]] = {
    # ends: a job ends, by itself or by `carry_on`.
    # runs: the job's programs run, with their arguments and environment, and are stopped at the deadline.
    # shares: a job that one process has created is listed by another.
    # remembers: knows without a request whether a job has its secrets. Without it, a repeat may resolve them again.
    # reads first: knows whether a job exists before it resolves secrets. Without it, they may be resolved needlessly.
    # bounds: runs at most `parallelism` jobs at once. Without it, the cluster decides that.
    # variables: keeps a name and its secrets in a Variable, beside the job.
    # collects: ended jobs are kept until `reconcile` removes them.
    "memory": frozenset({"ends", "remembers", "reads first"}),
    "printer": frozenset({"ends", "remembers", "reads first"}),
    "local": frozenset({"ends", "runs", "shares", "collects", "remembers", "reads first", "bounds"}),
    "kubernetes": frozenset({"ends", "runs", "shares", "reads first"}),
    "nomad": frozenset({"ends", "runs", "shares", "variables"}),
}

PATIENCE = 10.0
"""Seconds for one call of a driver."""


class Cluster(ABC):
    """One cluster of one kind. Tests may share the cluster and nothing else: every job has a name of its own."""

    image: ClassVar[str] = "shell"
    """An image with /bin/sh."""
    parallelism: ClassVar[int] = 0
    end_seconds: ClassVar[float] = 20.0
    """Seconds within which a short job ends."""

    @property
    def place(self) -> str:
        """Where the jobs of the pool `jobs.POOL` are: a namespace; empty where there are none."""
        return ""

    def __init__(self) -> None:
        self.resolver = SecretResolver()
        self.driver = self.another()

    @abstractmethod
    def another(self) -> Driver:
        """A new driver on the same cluster, as another process would create."""

    @abstractmethod
    def lose(self, name: str) -> None:
        """Delete the job and everything that is kept of it, as an operator would, so that its name is free."""

    @abstractmethod
    def state(self) -> object:
        """Everything that a driver can change here, as a value: the cluster's state, or the writes that were sent."""

    def carry_on(self, job: JobSpec) -> None:  # noqa: B027  (most clusters run jobs by themselves)
        """Run the job, where the cluster does not do so by itself."""

    def job(self, main: Program | str = Program(), **fields: Any) -> JobSpec:  # noqa: B008  (frozen)
        """A job for this cluster, see `jobs.job`."""
        return jobs.job(self.image, main, **fields)

    def submit(self, job: JobSpec, driver: Driver | None = None) -> State:
        return (driver or self.driver).submit(job, within(PATIENCE))

    def cancel(self, name: str, *, tombstone: bool = True, run_id: str = "cancel-1") -> State | None:
        return self.driver.cancel(jobs.cancellation(name, run_id), within(PATIENCE), tombstone=tombstone)

    def seen(self, name: str) -> Observation | None:
        """The job of that name, or None. Fails if more than one is listed."""
        found = [each for each in observed(self.driver) if each.name == name]
        assert len(found) <= 1, f"{name} is listed {len(found)} times"
        return found[0] if found else None

    def unknown(self, name: str) -> Observation:
        """What was seen of a job that does not exist (any more)."""
        driver, place = self.driver.name, self.place
        return Observation(
            name=name, driver=driver, pool=jobs.POOL, place=place, identity="none", phase="failed", created=1.0
        )

    def running(self, job: JobSpec) -> Observation:
        """The job, once it runs."""
        self.carry_on(job)
        return self._await(job.name, lambda seen: seen.phase == "running", "ran")

    def end(self, job: JobSpec) -> Outcome:
        """How the job ended, once it has."""
        self.carry_on(job)
        outcome = classify(self.ended(job.name))
        assert outcome is not None
        return outcome

    def ended(self, name: str) -> Observation:
        """The job of that name, once it has ended."""
        return self._await(name, lambda seen: classify(seen) is not None, "ended")

    def stopped(self, name: str) -> Observation:
        """The job of that name, once its containers have ended."""
        return self._await(name, lambda seen: seen.phase in ("succeeded", "failed"), "was stopped")

    def _await(self, name: str, reached: Callable[[Observation], bool], what: str) -> Observation:
        until = time.monotonic() + self.end_seconds
        while True:
            seen = self.seen(name)
            if seen is not None and reached(seen):
                return seen
            assert time.monotonic() < until, f"{name} never {what}: {seen}"
            time.sleep(0.02)
