"""Looking at all jobs of a namespace on Nomad, and seeing to what nobody else will: deadlines, and half-made ends.

Two listings show everything: the Variables (by name, without their items) and the jobs (with their Meta). Only what
has changed or ended is asked for one by one, once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.observation import (
    Evidence,
    JobStub,
    failed_task,
    observation,
    overdue,
    shortage,
    talking_task,
    without_job,
)
from runner.drivers.nomad.record import Ended, Record, Variable
from runner.errors import Rejected
from runner.jobs import Report
from runner.observation import Observation
from runner.runtime.clock import Clock, Deadline

LOOK_SECONDS = 30.0
"""For the whole of a listing, a log or a mark; commands bring their own deadline."""

LEFT_SECONDS = 600.0
"""After this long a Variable without a job is no submit in progress any more: the job was removed, or never made."""

LOG_SECONDS = 3.0
"""How long after its end a program's last lines may still be on their way into its log (docker's come by a plugin)."""

EVIDENCE_LINES = 50
_LONGEST_LINE, _MOST = 1000, 8 << 20


class Memory:
    """What was asked for and can't change any more, by what it depends on."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], tuple[int, Record | None]] = {}
        self.ends: dict[tuple[str, str], tuple[int, int, Observation]] = {}
        self.jobs: set[tuple[str, str]] = set()

    def keep(self, namespace: str, names: set[str]) -> None:
        """Forget what is no longer there."""
        for kept in (self.records, self.ends):
            for key in [key for key in list(kept) if key[0] == namespace and key[1] not in names]:
                kept.pop(key, None)
        self.jobs = {key for key in list(self.jobs) if key[0] != namespace or key[1] in names}


class Look:
    """One look at one namespace."""

    def __init__(self, driver: str, where: Namespace, memory: Memory, clock: Clock) -> None:
        self._driver = driver
        self._where = where
        self._memory = memory
        self._deadline = Deadline.after(LOOK_SECONDS, clock)
        self._now = 0.0

    def observations(self) -> Iterator[Observation]:
        """Of every job, and of every name that is kept without one."""
        listed = self._where.variables(self._deadline)  # first: a job comes after its Variable, and goes before it
        variables = {each.name: each for each in listed.items if "/" not in each.name}
        jobs = self._where.jobs(self._deadline)
        self._now = jobs.now
        names = set(variables) | {job.id for job in jobs.items}
        for job in jobs.items:
            self._memory.jobs.add((self._where.name, job.id))
            yield self._job(job, variables.pop(job.id, None))
        for variable in variables.values():
            yield from self._without_job(variable)
        self._memory.keep(self._where.name, names)

    def collect(self, retention: float, orphan_age: float) -> int:
        """Remove the Variables that may go; their jobs are gone already, since Nomad collects those itself."""
        listed = self._where.variables(self._deadline)
        jobs = {job.id for job in self._where.jobs(self._deadline).items}
        removed = 0
        for variable in listed.items:
            record = self._record(variable) if variable.name not in jobs and "/" not in variable.name else None
            if record and listed.now - record.modified > (retention if record.reported else orphan_age):
                self._where.drop(variable.name, record.index, self._deadline)
                removed += 1
        return removed

    def _job(self, job: JobStub, variable: Variable | None) -> Observation:
        record = self._record(variable) if variable and variable.changed else None
        if not job.ended:
            record = self._enforce(job, record)
        key, index = (self._where.name, job.id), variable.modify_index if variable else 0
        known = self._memory.ends.get(key)
        if known and known[:2] == (job.modify_index, index):
            return known[2]
        seen = self._look_at(job, record)
        if seen.ended is not None:
            self._memory.ends[key] = (job.modify_index, index, seen)
        return seen

    def _enforce(self, job: JobStub, record: Record | None) -> Record | None:
        """End the job if its time is up, or if it should have ended. What its record says then."""
        if record is None or record.open:
            record = self._end_overdue(job) or record
        if record and not record.open and not job.stop:
            self._where.stop(job.id, self._deadline)
        return record

    def _end_overdue(self, job: JobStub) -> Record | None:
        """Close the record of a job whose time is up. None where it is not, or somebody was faster."""
        ended = overdue(job, self._now)
        if ended is None:
            return None
        record = self._where.record(job.id, self._deadline)
        if record is None:
            record = restored(self._where, job, self._deadline)
        elif not record.open:
            return record
        if record is None:
            return None
        if ended.unschedulable:
            told = shortage(self._where.evaluations(job.id, self._deadline))
            ended = Ended(unschedulable=told or ended.unschedulable)
        closed = msgspec.structs.replace(record, ended=ended, open=False)
        written = self._where.write(job.id, nomad_record.closed(closed), record.index, self._deadline)
        return closed if written else None

    def _look_at(self, job: JobStub, record: Record | None) -> Observation:
        evidence = Evidence(job, record)
        if job.ended or job.stop:
            evidence = Evidence(job, record, self._where.allocations(job.id, self._deadline))
            task, last = failed_task(evidence), evidence.last
            if task and last and last.ended:
                evidence = msgspec.structs.replace(evidence, log_tail=self._evidence(last.id, task))
                return self._told(observation(evidence, self._driver))
        return observation(evidence, self._driver)

    def _told(self, seen: Observation) -> Observation:
        """The end of a job; or that it goes on, until its log has come."""
        if seen.log_tail or seen.ended is None or self._now - seen.ended > LOG_SECONDS:
            return seen
        return msgspec.structs.replace(seen, phase="running", ended=None)

    def _evidence(self, allocation: str, task: str) -> str:
        try:
            return _tail(self._where, allocation, task, EVIDENCE_LINES, self._deadline)
        except Rejected:  # the node is gone, or has forgotten it
            return ""

    def _without_job(self, variable: Variable) -> Iterator[Observation]:
        record = self._record(variable)
        if record is None:
            return
        seen_before = (self._where.name, variable.name) in self._memory.jobs
        if not record.open or seen_before or self._now - record.modified > LEFT_SECONDS:
            yield without_job(variable.name, record, self._driver)

    def _record(self, variable: Variable) -> Record | None:
        """What the Variable says; asked for once after every change of it."""
        key = (self._where.name, variable.name)
        known = self._memory.records.get(key)
        if known is None or known[0] != variable.modify_index:
            try:
                record = self._where.record(variable.name, self._deadline)
            except Rejected:  # somebody else's
                record = None
            known = self._memory.records[key] = (record.index if record else variable.modify_index, record)
        return known[1]


def restored(where: Namespace, job: JobStub, deadline: Deadline) -> Record | None:
    """The record of a job whose Variable somebody has removed, written anew; None where somebody was faster.

    It is only the first write: a Variable that was never changed is that of a job that goes on, and is not looked at.
    """
    meta = job.meta or {}
    report = nomad_record.decode(meta.get(nomad_record.REPORT), Report)
    record = Record(fingerprint=job.fingerprint, pool=meta.get(nomad_record.POOL, ""), report=report)
    where.write(job.id, nomad_record.closed(record), 0, deadline)
    return where.record(job.id, deadline)


def log(where: Namespace, job: JobStub, container: str, lines: int, deadline: Deadline) -> str:
    """The last lines of a container's log. Raises Rejected where it has none."""
    allocations = where.allocations(job.id, deadline)
    if not allocations:
        raise Rejected(f"{job.id} has no log: no node has taken it" + (f" (nor {container})" if container else ""))
    last = allocations[-1]
    return _tail(where, last.id, container or talking_task(job.meta or {}, last), lines, deadline)


def _tail(where: Namespace, allocation: str, task: str, lines: int, deadline: Deadline) -> str:
    """Nomad keeps the two streams apart: first what was printed, then what was complained of."""
    size = min(lines * _LONGEST_LINE, _MOST)
    streams = [where.log(allocation, task, stream, size, deadline) for stream in ("stdout", "stderr")]
    return "".join("".join(streams).splitlines(keepends=True)[-lines:])
