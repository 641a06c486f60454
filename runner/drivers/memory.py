"""The memory driver: the model that the other drivers are held against, and the double that tests use.

It keeps every promise of the protocol within one process and runs nothing: `start`, `finish` and `lose` are how a test
plays the cluster. With many workers each would have jobs of its own, so the configuration allows one.
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


class Record(msgspec.Struct, frozen=True):
    """One job as it stands: what was asked for (nothing, for a tombstone) and what can be seen of it."""

    seen: Observation
    job: JobSpec | None = None
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Record({self.seen.name!r}, {self.seen.phase}{', cancelled' if self.seen.cancelled else ''})"


class MemoryDriver:
    """Jobs in a dictionary, behind a lock."""

    name = "memory"

    def __init__(self, *, resolve_secrets: ResolveSecrets, clock: Clock, capacity: int = 1_000_000) -> None:
        self._resolve_secrets = resolve_secrets
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._records)} jobs)"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        deadline.check(f"creating {job.name}")
        with self._lock:
            known = self._records.get(job.name)
            if known is None:
                self._make_room()
                # Unsealed before anybody can see the job: a repeat must find no job that then fails to get its secrets.
                self._records[job.name] = Record(self._first_sight(job), job, self._resolve_secrets(job))
        return _repeat(known.seen, job) if known else "created"

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        deadline.check(f"cancelling {cancellation.name}")
        with self._lock:
            record = self._records.get(cancellation.name)
            if record is None or record.job is None:
                if not tombstone:
                    return None
                record = record or Record(self._tombstone(cancellation))
            elif not record.seen.cancelled and record.seen.ended is not None:
                return "exists"
            elif not record.seen.cancelled:
                record = _seen(record, cancelled=True, cancellation=cancellation.report, **self._ended("failed"))
            self._records[cancellation.name] = record
        return "cancelled"

    def list(self) -> Sequence[Observation]:
        """See Driver.list."""
        with self._lock:
            return [record.seen for record in self._records.values()]

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. Nothing here waits for a restart; the oldest are forgotten when the memory is full."""
        return 0

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported."""
        with self._lock:
            if record := self._records.get(name):
                self._records[name] = _seen(record, reported=True)

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        record = self._record(name)
        known = [each.name for each in record.job.containers] if record.job else []
        if container and container not in known:
            raise Rejected(f"{name} has no container {container!r}; it has {', '.join(known) or 'none'}")
        return "".join(record.seen.log_tail.splitlines(keepends=True)[-lines:])

    def check(self) -> None:
        """See Driver.check. Memory is always there."""

    def job(self, name: str) -> JobSpec:
        """What was asked for under that name. Raises Rejected where nothing was."""
        record = self._record(name)
        if record.job is None:
            raise Rejected(f"{name} was cancelled before it came")
        return record.job

    def secrets(self, name: str) -> dict[str, str]:
        """The secrets that the job of that name would see."""
        return dict(self._record(name).secrets)

    def start(self, name: str) -> None:
        """Play the cluster: a node has taken the job."""
        self._change(name, phase="running")

    def finish(self, name: str, *, main_exit: int = 0, log: str = "") -> None:
        """Play the cluster: the main container has ended."""
        phase: Phase = "failed" if main_exit else "succeeded"
        self._change(name, main_exit=main_exit, log_tail=log, **self._ended(phase))

    def lose(self, name: str) -> None:
        """Play an operator: the job is deleted."""
        with self._lock:
            self._records.pop(name, None)

    def _record(self, name: str) -> Record:
        with self._lock:
            if name not in self._records:
                raise Rejected(f"there is no job {name}")
            return self._records[name]

    def _change(self, name: str, **changes: object) -> None:
        record = self._record(name)
        with self._lock:
            if record.seen.ended is None:
                self._records[name] = _seen(record, **changes)

    def _ended(self, phase: Phase) -> dict[str, object]:
        return {"phase": phase, "ended": self._clock.wall()}

    def _first_sight(self, job: JobSpec) -> Observation:
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

    def _make_room(self) -> None:
        """Forget the oldest tenth when full, so that an idle model in a long benchmark does not grow for ever."""
        if len(self._records) >= self._capacity:
            for name in list(self._records)[: max(1, self._capacity // 10)]:
                del self._records[name]


def _repeat(seen: Observation, job: JobSpec) -> State:
    """What a second submit finds."""
    if seen.cancelled:
        return "cancelled"
    if seen.fingerprint != job.fingerprint:
        raise Conflict(f"{job.name} exists already and was made from a different request; a new run needs a new run_id")
    return "exists"


def _seen(record: Record, **changes: object) -> Record:
    return msgspec.structs.replace(record, seen=msgspec.structs.replace(record.seen, **changes))
