"""Listing the jobs of a namespace on Nomad. It reads, and writes nothing.

Two requests list everything: the Variables (by name, without their items) and the jobs (with their Meta). What has
changed or ended is read one by one, once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runner.drivers.nomad.namespace import Listing, Namespace
from runner.drivers.nomad.observation import (
    Evidence,
    JobStub,
    failed_task,
    observation,
    talking_task,
    without_job,
)
from runner.drivers.nomad.record import Record, Variable
from runner.errors import Rejected
from runner.observation import Observation
from runner.runtime.clock import Clock, Deadline

LIST_SECONDS = 30.0
"""For the whole of a listing, a log or a mark; commands bring their own deadline."""

LEFT_SECONDS = 600.0
"""After this long a Variable without a job is no submit in progress any more: the job was removed, or never made."""

LOG_SECONDS = 3.0
"""How long after its end a program's last lines may still be on their way into its log (docker's come by a plugin)."""

EVIDENCE_LINES = 50
_LONGEST_LINE, _MOST = 1000, 8 << 20


class Cache:
    """What was read and cannot change any more, by what it depends on."""

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], tuple[int, int, Observation]] = {}
        self.jobs: set[tuple[str, str]] = set()
        self._records: dict[tuple[str, str], tuple[int, Record | None]] = {}

    def record(self, where: Namespace, variable: Variable, deadline: Deadline) -> Record | None:
        """What the Variable says, read once after each change of it; None for one that is not the Orchestrator's."""
        key = (where.name, variable.name)
        known = self._records.get(key)
        if known is None or known[0] != variable.modify_index:
            try:
                record = where.record(variable.name, deadline)
            except Rejected:  # somebody else's
                record = None
            known = self._records[key] = (record.index if record else variable.modify_index, record)
        return known[1]

    def keep(self, namespace: str, names: set[str]) -> None:
        """Forget every other name of the namespace."""
        for kept in (self._records, self.ends):
            for key in [key for key in list(kept) if key[0] == namespace and key[1] not in names]:
                kept.pop(key, None)
        self.jobs = {key for key in list(self.jobs) if key[0] != namespace or key[1] in names}


def named(listed: Listing[Variable]) -> dict[str, Variable]:
    """The Variables that can be jobs', by the job's name."""
    return {each.name: each for each in listed.items if "/" not in each.name}


class NamespaceReader:
    """One listing of one namespace."""

    def __init__(self, driver: str, where: Namespace, cache: Cache, clock: Clock) -> None:
        self._driver = driver
        self._where = where
        self._cache = cache
        self._deadline = Deadline.after(LIST_SECONDS, clock)
        self._now = 0.0

    def observations(self) -> Iterator[Observation]:
        """Of every job, and of every name that is kept without one."""
        # The Variables first: a job is made after its Variable, and removed before it.
        variables = named(self._where.variables(self._deadline))
        jobs = self._where.jobs(self._deadline)
        self._now = jobs.now
        names = set(variables) | {job.id for job in jobs.items}
        for job in jobs.items:
            self._cache.jobs.add((self._where.name, job.id))
            yield self._job(job, variables.pop(job.id, None))
        for variable in variables.values():
            yield from self._without_job(variable)
        self._cache.keep(self._where.name, names)

    def _job(self, job: JobStub, variable: Variable | None) -> Observation:
        key, index = (self._where.name, job.id), variable.modify_index if variable else 0
        known = self._cache.ends.get(key)
        if known and known[:2] == (job.modify_index, index):
            return known[2]
        changed = variable if variable and variable.changed else None
        record = self._cache.record(self._where, changed, self._deadline) if changed else None
        seen = self._observed(job, record)
        if seen.ended is not None:
            self._cache.ends[key] = (job.modify_index, index, seen)
        return seen

    def _observed(self, job: JobStub, record: Record | None) -> Observation:
        evidence = Evidence(job, record)
        if job.ended or job.stop:
            evidence = Evidence(job, record, self._where.allocations(job.id, self._deadline))
            task, last = failed_task(evidence), evidence.last
            if task and last and last.ended:
                evidence = msgspec.structs.replace(evidence, log_tail=self._log_tail(last.id, task))
                return self._once_logged(observation(evidence, self._driver))
        return observation(evidence, self._driver)

    def _once_logged(self, seen: Observation) -> Observation:
        """The end of a job; until its log has arrived, the job still runs."""
        if seen.log_tail or seen.ended is None or self._now - seen.ended > LOG_SECONDS:
            return seen
        return msgspec.structs.replace(seen, phase="running", ended=None)

    def _log_tail(self, allocation: str, task: str) -> str:
        try:
            return _tail(self._where, allocation, task, EVIDENCE_LINES, self._deadline)
        except Rejected:  # the node is gone, or has removed the log
            return ""

    def _without_job(self, variable: Variable) -> Iterator[Observation]:
        record = self._cache.record(self._where, variable, self._deadline)
        if record is None:
            return
        seen_before = (self._where.name, variable.name) in self._cache.jobs
        if not record.open or seen_before or self._now - record.modified > LEFT_SECONDS:
            yield without_job(variable.name, record, self._driver)


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
