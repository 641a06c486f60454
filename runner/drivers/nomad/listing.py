"""Lists the jobs of a Nomad namespace. It only reads.

Two requests list everything: the Variables (without their items) and the jobs (with their Meta). Details of changed
Variables and ended jobs are read one by one and cached.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runner.drivers.nomad.namespace import Listing, Namespace
from runner.drivers.nomad.objects import JobStub
from runner.drivers.nomad.observation import (
    Evidence,
    failed_task,
    log_task,
    observation,
    without_job,
)
from runner.drivers.nomad.variable import JobVariable, VariableStub
from runner.errors import Rejected
from runner.observation import Observation
from runner.runtime.clock import Clock, Deadline

LIST_SECONDS = 30.0
"""The deadline for a listing, for reading a log and for `mark_reported`. Commands pass their own deadline."""

LEFT_SECONDS = 600.0
"""After so many seconds, a Variable without a job is no submit in progress: the job was removed or never registered."""

LOG_SECONDS = 3.0
"""The seconds that the last lines of an ended program may take to reach its log (docker's go through a plugin)."""

EVIDENCE_LINES = 50
_LONGEST_LINE, _MOST = 1000, 8 << 20


class Cache:
    """Details that were read, with the modify indexes for which they are valid."""

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], tuple[int, int, Observation]] = {}
        self.jobs: set[tuple[str, str]] = set()
        self._variables: dict[tuple[str, str], tuple[int, JobVariable | None]] = {}

    def variable(self, namespace: Namespace, stub: VariableStub, deadline: Deadline) -> JobVariable | None:
        """The Variable's content, read once after each change; None if it is not the Orchestrator's."""
        key = (namespace.name, stub.name)
        known = self._variables.get(key)
        if known is None or known[0] != stub.modify_index:
            try:
                variable = namespace.variable(stub.name, deadline)
            except Rejected:  # not the Orchestrator's
                variable = None
            known = self._variables[key] = (variable.index if variable else stub.modify_index, variable)
        return known[1]

    def keep(self, namespace: str, names: set[str]) -> None:
        """Remove every other name of the namespace from the cache."""
        for kept in (self._variables, self.ends):
            for key in [key for key in list(kept) if key[0] == namespace and key[1] not in names]:
                kept.pop(key, None)
        self.jobs = {key for key in list(self.jobs) if key[0] != namespace or key[1] in names}


def stubs_by_name(listed: Listing[VariableStub]) -> dict[str, VariableStub]:
    """The Variables at a job's path, by the job's name."""
    return {each.name: each for each in listed.items if "/" not in each.name}


class NamespaceReader:
    """One listing of one namespace."""

    def __init__(self, driver: str, namespace: Namespace, cache: Cache, clock: Clock) -> None:
        self._driver = driver
        self._namespace = namespace
        self._cache = cache
        self._deadline = Deadline.after(LIST_SECONDS, clock)
        self._now = 0.0

    def observations(self) -> Iterator[Observation]:
        """The observations of every job, and of every name that has only a Variable."""
        # List Variables first: a job is registered after its Variable is written, and removed before it.
        stubs = stubs_by_name(self._namespace.variables(self._deadline))
        jobs = self._namespace.jobs(self._deadline)
        self._now = jobs.now
        names = set(stubs) | {job.id for job in jobs.items}
        for job in jobs.items:
            self._cache.jobs.add((self._namespace.name, job.id))
            yield self._job(job, stubs.pop(job.id, None))
        for stub in stubs.values():
            yield from self._without_job(stub)
        self._cache.keep(self._namespace.name, names)

    def _job(self, job: JobStub, stub: VariableStub | None) -> Observation:
        key, index = (self._namespace.name, job.id), stub.modify_index if stub else 0
        known = self._cache.ends.get(key)
        if known and known[:2] == (job.modify_index, index):
            return known[2]
        changed = stub if stub and stub.changed else None
        variable = self._cache.variable(self._namespace, changed, self._deadline) if changed else None
        seen = self._observed(job, variable)
        if seen.ended is not None:
            self._cache.ends[key] = (job.modify_index, index, seen)
        return seen

    def _observed(self, job: JobStub, variable: JobVariable | None) -> Observation:
        evidence = Evidence(job, variable)
        if job.ended or job.stop:
            evidence = Evidence(job, variable, self._namespace.allocations(job.id, self._deadline))
            task, last = failed_task(evidence), evidence.last
            if task and last and last.ended:
                evidence = msgspec.structs.replace(evidence, log_tail=self._log_tail(last.id, task))
                return self._once_logged(observation(evidence, self._driver))
        return observation(evidence, self._driver)

    def _once_logged(self, seen: Observation) -> Observation:
        """The observation of an ended job. While its log is still empty, for LOG_SECONDS, the job counts as running."""
        if seen.log_tail or seen.ended is None or self._now - seen.ended > LOG_SECONDS:
            return seen
        return msgspec.structs.replace(seen, phase="running", ended=None)

    def _log_tail(self, allocation: str, task: str) -> str:
        try:
            return _tail(self._namespace, allocation, task, EVIDENCE_LINES, self._deadline)
        except Rejected:  # the node is lost or has removed the log
            return ""

    def _without_job(self, stub: VariableStub) -> Iterator[Observation]:
        variable = self._cache.variable(self._namespace, stub, self._deadline)
        if variable is None:
            return
        seen_before = (self._namespace.name, stub.name) in self._cache.jobs
        if not variable.open or seen_before or self._now - variable.modified > LEFT_SECONDS:
            yield without_job(stub.name, variable, self._driver)


def container_log(namespace: Namespace, job: JobStub, container: str, lines: int, deadline: Deadline) -> str:
    """The last lines of a container's log. Raises Rejected if it has none."""
    allocations = namespace.allocations(job.id, deadline)
    if not allocations:
        raise Rejected(f"{job.id} has no log: no node has taken it" + (f" (nor {container})" if container else ""))
    last = allocations[-1]
    return _tail(namespace, last.id, container or log_task(job.meta or {}, last), lines, deadline)


def _tail(namespace: Namespace, allocation: str, task: str, lines: int, deadline: Deadline) -> str:
    """The last lines of standard output followed by standard error, which Nomad stores separately."""
    size = min(lines * _LONGEST_LINE, _MOST)
    streams = [namespace.task_log(allocation, task, stream, size, deadline) for stream in ("stdout", "stderr")]
    return "".join("".join(streams).splitlines(keepends=True)[-lines:])
