"""Lists the jobs of a Nomad namespace. It only reads.

Three requests list everything: the Variables (without their items), the jobs (with their Meta) and the allocations that
run. Details of changed Variables and ended jobs are read one by one and cached: after a start, each closed Variable is
read once, those of reported jobs as well, since a list does not show which they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from runner.drivers.nomad.allocations.waiting import begun
from runner.drivers.nomad.namespace import FOREIGN, Listing, Namespace
from runner.drivers.nomad.objects import Allocation, JobStub
from runner.drivers.nomad.observation import Evidence, being_submitted, log_task, observation, without_job
from runner.drivers.nomad.variable import JobVariable, VariableStub
from runner.errors import Rejected, Timeout, Unavailable
from runner.observation import Observation
from runner.runtime.clock import Deadline
from runner.security.masking import KEY_LINES, evidence_tail, last_lines

LIST_SECONDS = 30.0
"""The deadline for a listing and for reading a log. Commands pass their own deadline."""

READ_SECONDS = 10.0
"""The deadline for reading, ending or marking one job."""

KILL_SECONDS = 300.0
"""For so long after a stop, what still runs counts as ending. A client sends SIGKILL after 30 s, repeats that for some
minutes, and then waits for the process, be it in vain: a docker that hangs, say, or a disk that does not answer."""

LOG_SECONDS = 3.0
"""The seconds that the last lines of an ended program may take to reach its log (docker's go through a plugin)."""

LOG_READ_SECONDS = 3.0
"""The deadline for reading a log as evidence. A node that does not answer must not delay the rest for longer."""

EVIDENCE_LINES, EVIDENCE_CHARACTERS = 50, 16 << 10
READ_LINES = 200
"""How much of a log is shown, and how much is read: more, since a key is recognized by its first line."""

_LONGEST_LINE, _MOST = 1000, 8 << 20


class Cache:
    """Details that were read, with the modify indexes for which they are valid. Any thread may use it.

    After `submit_seconds`, a Variable without a job is no longer a submit in progress: its job was removed, or never
    registered.
    """

    def __init__(self, submit_seconds: float) -> None:
        self.submit_seconds = submit_seconds
        self.ends: dict[tuple[str, str, bool], tuple[int, int, Observation]] = {}
        self.jobs: set[tuple[str, str, str]] = set()
        self.begun: set[tuple[str, str, str]] = set()
        """Of the jobs, by namespace, name and nonce: those that have begun. See `has_begun`."""
        self._variables: dict[tuple[str, str], tuple[int, JobVariable | None]] = {}

    def variable(self, namespace: Namespace, stub: VariableStub, deadline: Deadline) -> JobVariable | None:
        """The Variable's content, read once after each change; None if it is not the Orchestrator's."""
        known = self._variables.get((namespace.name, stub.name))
        if known is None or known[0] != stub.modify_index:  # a restored snapshot goes back
            return self.read(namespace, stub.name, stub.modify_index, deadline)
        return known[1]

    def read(self, namespace: Namespace, name: str, index: int, deadline: Deadline) -> JobVariable | None:
        """Read the Variable now. Its absence, or that it is not the Orchestrator's, is valid for `index`."""
        try:
            variable = namespace.variable(name, deadline)
        except Rejected as error:
            if not error.detail.startswith(FOREIGN):
                raise
            variable = None
        self._variables[(namespace.name, name)] = (variable.index if variable else index, variable)
        return variable

    def has_begun(self, namespace: Namespace, job: JobStub, allocations: Sequence[Allocation] = ()) -> bool:
        """Whether these allocations, or earlier ones, have shown that the job has begun (see allocations.waiting)."""
        key = (namespace.name, job.id, job.nonce)
        if begun(job, allocations):
            self.begun.add(key)
        return key in self.begun

    def keep(self, namespace: str, names: set[str]) -> None:
        """Remove every other name of the namespace from the cache."""
        for known in list(self._variables):
            if known[0] == namespace and known[1] not in names:
                self._variables.pop(known, None)
        for ended in list(self.ends):
            if ended[0] == namespace and ended[1] not in names:
                self.ends.pop(ended, None)
        self.jobs = {key for key in list(self.jobs) if key[0] != namespace or key[1] in names}
        self.begun = {key for key in list(self.begun) if key[0] != namespace or key[1] in names}


class Reading(msgspec.Struct, frozen=True):
    """What one reading of a job has shown, and the modify indexes of what was read. 0 if there was none.

    The Variable was read first: if its index is unchanged, no request has changed what becomes of the job.
    """

    seen: Observation | None
    job_index: int = 0
    allocation_index: int = 0
    """Of its latest allocation."""
    variable_index: int = 0


def stubs_by_name(listed: Listing[VariableStub]) -> dict[str, VariableStub]:
    """The Variables at a job's path, by the job's name."""
    return {each.name: each for each in listed.items if "/" not in each.name}


class NamespaceReader:
    """Reads one namespace: all jobs, or one.

    With `pending_only`, jobs that are reported are left out, and their jobs, allocations and logs are never read. Then
    the last lines of logs are left out as well: a node that does not answer would delay everything else.
    """

    def __init__(
        self, driver: str, namespace: Namespace, cache: Cache, deadline: Deadline, *, pending_only: bool = False
    ) -> None:
        self._driver = driver
        self._namespace = namespace
        self._cache = cache
        self._deadline = deadline
        self._pending_only = pending_only
        self._now = math.inf
        self.index = 0
        """See Listing.index: of the jobs, once they are listed."""
        self._running: dict[str, list[Allocation]] = {}

    def observations(self) -> Iterator[Observation]:
        """The observations of every job, and of every name that has only a Variable.

        Those that need no reading of their own come first, then those whose Variable changed last.
        """
        # List Variables first: a job is registered after its Variable is written, and removed before it.
        stubs = stubs_by_name(self._namespace.variables(self._deadline))
        jobs = self._namespace.jobs(self._deadline)
        self._running = self._namespace.running_allocations(self._deadline)
        self._now, self.index = jobs.now, jobs.index
        names = set(stubs) | {job.id for job in jobs.items}
        for job in sorted(jobs.items, key=lambda job: _order(stubs.get(job.id))):
            self._cache.jobs.add((self._namespace.name, job.id, job.nonce))
            yield from self._job(job, stubs.pop(job.id, None))
        for stub in sorted(stubs.values(), key=_order):
            yield from self._without_job(stub)
        self._cache.keep(self._namespace.name, names)

    def set_aside(self) -> int:
        """How many jobs are set aside. One request, where the cache has what was read before."""
        stubs = stubs_by_name(self._namespace.variables(self._deadline)).values()
        changed = [self._cache.variable(self._namespace, stub, self._deadline) for stub in stubs if stub.changed]
        return sum(variable is not None and variable.set_aside for variable in changed)

    def one(self, name: str) -> Reading:
        """The job of that name, or what its Variable says of it. Nothing is taken from the cache."""
        variable = self._cache.read(self._namespace, name, 0, self._deadline)
        index = variable.index if variable else 0
        if variable and variable.reported and self._pending_only:
            return Reading(without_job(name, variable, self._driver, self._namespace.name), variable_index=index)
        job = self._namespace.job(name, self._deadline)
        if job is None or not job.fingerprint:
            return Reading(self._by_variable(name, variable), variable_index=index)
        self._cache.jobs.add((self._namespace.name, name, job.nonce))
        allocations = self._namespace.allocations(name, self._deadline)
        seen = self._observed(Evidence(job, variable, allocations, self._kill_failed(job, variable)))
        return Reading(seen, job.modify_index, max((each.modify_index for each in allocations), default=0), index)

    def registered(self, job: JobStub) -> Reading:
        """A job as the event of its registration shows it. As in a list, its Variable is as its submit wrote it.

        If that was changed, the source of Variables reads it.
        """
        self._cache.jobs.add((self._namespace.name, job.id, job.nonce))
        return Reading(observation(Evidence(job, None), self._driver, self._namespace.name), job.modify_index)

    def _by_variable(self, name: str, variable: JobVariable | None) -> Observation | None:
        """What a Variable without a job says. If nobody has seen its job, it may be about to be registered."""
        if variable is None:
            return None
        seen_before = (self._namespace.name, name, variable.nonce) in self._cache.jobs
        if variable.awaits_submit and not seen_before and variable.age <= self._cache.submit_seconds:
            return being_submitted(name, variable, self._driver, self._namespace.name)
        return without_job(name, variable, self._driver, self._namespace.name, never_seen=not seen_before)

    def _job(self, job: JobStub, stub: VariableStub | None) -> Iterator[Observation]:
        key, index = (self._namespace.name, job.id, self._pending_only), stub.modify_index if stub else 0
        known = self._cache.ends.get(key)
        if known and known[:2] == (job.modify_index, index):
            yield known[2]
            return
        changed = stub if stub and stub.changed else None
        variable = self._cache.variable(self._namespace, changed, self._deadline) if changed else None
        if variable and variable.reported and self._pending_only:
            return
        ended = job.ended or job.stop
        allocations = self._namespace.allocations(job.id, self._deadline) if ended else self._running.get(job.id, [])
        seen = self._observed(Evidence(job, variable, allocations, self._kill_failed(job, variable)))
        if seen.ended is not None and job.ended:
            self._cache.ends[key] = (job.modify_index, index, seen)
        yield seen

    def _kill_failed(self, job: JobStub, variable: JobVariable | None) -> bool:
        """Whether its Variable was closed, and the job stopped, more than KILL_SECONDS ago."""
        if variable is None or variable.open or not (job.ended and job.stop):
            return False
        return (variable.age if math.isinf(self._now) else self._now - variable.modified) > KILL_SECONDS

    def _observed(self, evidence: Evidence) -> Observation:
        seen = observation(evidence, self._driver, self._namespace.name)
        run = evidence.run
        self._cache.has_begun(self._namespace, evidence.job, evidence.allocations)
        if self._pending_only or seen.ended is None or run.allocation is None or not evidence.job.ended:
            return seen
        if seen.container and (run.main.exit or run.init.exit):
            tail = self._log_tail(run.allocation.id, seen.container)
            return self._once_logged(msgspec.structs.replace(seen, log_tail=tail))
        return seen

    def _once_logged(self, seen: Observation) -> Observation:
        """The observation of an ended job. While its log is still empty, for LOG_SECONDS, the job counts as running."""
        if seen.log_tail or seen.ended is None or self._now - seen.ended > LOG_SECONDS:
            return seen
        return msgspec.structs.replace(seen, phase="running", ended=None)

    def _log_tail(self, allocation: str, task: str) -> str:
        """The last lines of the log; empty if the node is lost, does not answer in time, or has removed the log."""
        deadline = Deadline.after(min(LOG_READ_SECONDS, self._deadline.left), self._deadline.clock)
        try:
            read = _tail(self._namespace, allocation, task, READ_LINES, deadline)
        except (Rejected, Unavailable, Timeout):
            return ""
        return evidence_tail(read, EVIDENCE_LINES, EVIDENCE_CHARACTERS)

    def _without_job(self, stub: VariableStub) -> Iterator[Observation]:
        variable = self._cache.variable(self._namespace, stub, self._deadline)
        if variable is None or (variable.reported and self._pending_only):
            return
        seen_before = (self._namespace.name, stub.name, variable.nonce) in self._cache.jobs
        if not variable.awaits_submit or seen_before or self._now - variable.modified > self._cache.submit_seconds:
            yield without_job(stub.name, variable, self._driver, self._namespace.name, never_seen=not seen_before)


def _order(stub: VariableStub | None) -> int:
    """Variables that were not changed need no reading; of the others, the latest change comes first."""
    return -stub.modify_index if stub and stub.changed else -(2**63)


def container_log(namespace: Namespace, job: JobStub, container: str, lines: int, deadline: Deadline) -> str:
    """The last lines of a container's log. Raises Rejected if it has none."""
    allocations = namespace.allocations(job.id, deadline)
    if not allocations:
        raise Rejected(f"{job.id} has no log: no node has taken it" + (f" (nor {container})" if container else ""))
    last = allocations[-1]
    return _tail(namespace, last.id, container or log_task(job.meta or {}, last), lines, deadline)


def _tail(namespace: Namespace, allocation: str, task: str, lines: int, deadline: Deadline) -> str:
    """The last lines of standard output followed by standard error, which Nomad stores separately."""
    size = min((lines + KEY_LINES) * _LONGEST_LINE, _MOST)
    streams = [namespace.task_log(allocation, task, stream, size, deadline) for stream in ("stdout", "stderr")]
    return last_lines("".join(_whole_lines(each, size) for each in streams), lines)


def _whole_lines(tail: str, size: int) -> str:
    """What was read, without a first line whose beginning was not: half a secret is not recognized."""
    return tail if len(tail.encode()) < size else tail.partition("\n")[2]
