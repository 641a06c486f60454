"""The memory driver: the reference implementation of the protocol, and the double that tests use.

It implements the whole protocol within one process and runs no program: a test simulates the cluster by calling
`start`, `finish` and `lose`. Each worker process would have its own jobs, so the configuration allows only one worker.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from runner.drivers.driver import Retention
from runner.errors import Conflict, Rejected
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome, Phase
from runner.runtime.clock import Clock, Deadline


class MemoryJob(msgspec.Struct, frozen=True):
    """One stored job: its observation and its specification (None for a tombstone)."""

    observation: Observation
    job: JobSpec | None = None
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        seen = self.observation
        return f"MemoryJob({seen.name!r}, {seen.phase}{', cancelled' if seen.cancelled else ''})"


class MemoryDriver:
    """Jobs in a dictionary that a lock protects."""

    name = "memory"

    def __init__(self, *, resolve_secrets: ResolveSecrets, clock: Clock, capacity: int = 1_000_000) -> None:
        self._resolve_secrets = resolve_secrets
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._jobs: dict[str, MemoryJob] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._jobs)} jobs)"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        deadline.check(f"creating {job.name}")
        with self._lock:
            known = self._jobs.get(job.name)
            if known is None:
                self._drop_oldest()
                # Secrets are resolved before the job is stored. If that fails, a repeat must not find the job.
                self._jobs[job.name] = MemoryJob(self._new_observation(job), job, self._resolve_secrets(job))
        return _repeat(known.observation, job) if known else "created"

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        deadline.check(f"cancelling {cancellation.name}")
        with self._lock:
            entry = self._jobs.get(cancellation.name)
            if entry is None or entry.job is None:
                if not tombstone:
                    return None
                entry = entry or MemoryJob(self._tombstone(cancellation))
            elif not entry.observation.cancelled and entry.observation.ended is not None:
                return "exists"
            elif not entry.observation.cancelled:
                entry = _with_observation(
                    entry, cancelled=True, cancellation=cancellation.report, **self._ended("failed")
                )
            self._jobs[cancellation.name] = entry
        return "cancelled"

    def list(self) -> Sequence[Observation]:
        """See Driver.list."""
        with self._lock:
            return [entry.observation for entry in self._jobs.values()]

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. No job needs a restart; `submit` drops the oldest jobs when the capacity is reached."""
        return 0

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported."""
        with self._lock:
            if entry := self._jobs.get(name):
                self._jobs[name] = _with_observation(entry, reported=True)

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        entry = self._entry(name)
        known = [each.name for each in entry.job.containers] if entry.job else []
        if container and container not in known:
            raise Rejected(f"{name} has no container {container!r}; it has {', '.join(known) or 'none'}")
        return "".join(entry.observation.log_tail.splitlines(keepends=True)[-lines:])

    def check(self) -> None:
        """See Driver.check. It never fails."""

    def job(self, name: str) -> JobSpec:
        """The specification of the job. Raises Rejected if there is no such job, or only a tombstone."""
        entry = self._entry(name)
        if entry.job is None:
            raise Rejected(f"{name} was cancelled before it was submitted")
        return entry.job

    def secrets(self, name: str) -> dict[str, str]:
        """The secrets that the job of that name would receive."""
        return dict(self._entry(name).secrets)

    def start(self, name: str) -> None:
        """Simulate that a node has started the job."""
        self._update(name, phase="running")

    def finish(self, name: str, *, main_exit: int = 0, log_tail: str = "") -> None:
        """Simulate that the main container has exited, with this exit code and output."""
        phase: Phase = "failed" if main_exit else "succeeded"
        self._update(name, main_exit=main_exit, log_tail=log_tail, **self._ended(phase))

    def lose(self, name: str) -> None:
        """Simulate that an operator has deleted the job."""
        with self._lock:
            self._jobs.pop(name, None)

    def _entry(self, name: str) -> MemoryJob:
        with self._lock:
            if name not in self._jobs:
                raise Rejected(f"there is no job {name}")
            return self._jobs[name]

    def _update(self, name: str, **changes: object) -> None:
        entry = self._entry(name)
        with self._lock:
            if entry.observation.ended is None:
                self._jobs[name] = _with_observation(entry, **changes)

    def _ended(self, phase: Phase) -> dict[str, object]:
        return {"phase": phase, "ended": self._clock.wall()}

    def _new_observation(self, job: JobSpec) -> Observation:
        return Observation(
            name=job.name,
            driver=self.name,
            pool=job.pool,
            phase="waiting",
            created=self._clock.wall(),
            report=job.report,
            fingerprint=job.fingerprint,
        )

    def _tombstone(self, cancellation: Cancellation) -> Observation:
        now = self._clock.wall()
        return Observation(
            name=cancellation.name,
            driver=self.name,
            pool="",
            phase="failed",
            created=now,
            ended=now,
            cancelled=True,
            cancellation=cancellation.report,
        )

    def _drop_oldest(self) -> None:
        """Delete the oldest tenth of the jobs at capacity. It bounds the memory in a long benchmark."""
        if len(self._jobs) >= self._capacity:
            for name in list(self._jobs)[: max(1, self._capacity // 10)]:
                del self._jobs[name]


def _repeat(observation: Observation, job: JobSpec) -> State:
    """The state that a repeated submit returns. Raises Conflict if the request differs."""
    if observation.cancelled:
        return "cancelled"
    if observation.fingerprint != job.fingerprint:
        raise Conflict(f"{job.name} exists already and was made from a different request; a new run needs a new run_id")
    return "exists"


def _with_observation(entry: MemoryJob, **changes: object) -> MemoryJob:
    return msgspec.structs.replace(entry, observation=msgspec.structs.replace(entry.observation, **changes))
