"""The logs of a Nomad job's own tasks: their last lines; or all of them, in each allocation that it gets.

Nomad keeps standard output and standard error apart, and removes the oldest file of a log that becomes too long. A
stream of a log does not end with its task, and gives a line only once the next one begins. So each log is read from an
offset, again and again, as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runner.drivers.logs.following import Find, LogLines, chosen
from runner.drivers.logs.offset import LogOffset
from runner.drivers.nomad.allocations.task_ends import own_tasks
from runner.drivers.nomad.listing import LIST_SECONDS, LOG_SECONDS, container_log
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import Allocation, TaskState
from runner.errors import Rejected, Unavailable
from runner.observation import Observation
from runner.outcomes import classify
from runner.runtime.clock import Clock, Deadline

_STREAMS = ("stdout", "stderr")


def last_log(namespaces: Iterable[Namespace], name: str, container: str, lines: int, deadline: Deadline) -> str:
    """The last lines of a container's log. See Driver.logs."""
    for namespace in namespaces:
        if job := namespace.job(name, deadline):
            return container_log(namespace, job, container, lines, deadline)
    raise Rejected(f"there is no job {name}")


class NomadLogSource:
    """See LogSource."""

    def __init__(self, namespace: Namespace, seen: Observation, container: str, find: Find, clock: Clock) -> None:
        self._namespace = namespace
        self._seen = seen
        self._find = find
        self._clock = clock
        self._wanted = container
        self._offsets: dict[tuple[str, str, str], LogOffset] = {}
        self._dead_at: dict[tuple[str, str], float] = {}
        job = namespace.job(seen.name, Deadline.after(LIST_SECONDS, clock))
        if job is None or job.nonce != seen.identity:
            raise Rejected(f"the job {seen.name} is gone, and its logs with it; see `jobs show {seen.name}`")
        self._meta: Mapping[str, str] = job.meta or {}
        chosen(seen.name, own_tasks(self._meta, {}), container)

    def __repr__(self) -> str:
        return f"NomadLogSource({self._seen.name!r})"

    def read(self, lines: LogLines) -> bool:
        """See LogSource.read. The end is read before the logs."""
        now, deadline = self._find(self._seen), Deadline.after(LIST_SECONDS, self._clock)
        if now is None or now.identity != self._seen.identity:
            return True
        over = classify(now) is not None
        allocations = self._namespace.allocations(self._seen.name, deadline)
        try:
            goes_on = bool(allocations) and self._read_allocation(allocations[-1], lines, deadline)
        except Unavailable:
            if over:  # its node is lost, and has the logs
                return True
            raise
        return over and not goes_on

    def _read_allocation(self, allocation: Allocation, lines: LogLines, deadline: Deadline) -> bool:
        """Read the logs of the tasks that have started. Whether one may print more."""
        states, goes_on = allocation.task_states or {}, False
        for task in chosen(self._seen.name, own_tasks(self._meta, states), self._wanted):
            state = states.get(task)
            if state is None or state.last("Started") is None or self._is_complete(allocation, task):
                continue
            self._read_task(allocation.id, task, lines, deadline)
            self._note_end(allocation, task, state)
            goes_on = goes_on or not self._is_complete(allocation, task)
        return goes_on

    def _read_task(self, allocation: str, task: str, lines: LogLines, deadline: Deadline) -> None:
        for stream in _STREAMS:
            key = (allocation, task, stream)
            if key not in self._offsets:
                self._offsets[key] = LogOffset()

            def read_from(start: int, stream: str = stream) -> bytes:
                return self._namespace.task_log_from(allocation, task, stream, start, deadline)

            lines.write(task, self._offsets[key].new(read_from), f"{allocation} {stream}")

    def _note_end(self, allocation: Allocation, task: str, state: TaskState) -> None:
        if state.state == "dead" or allocation.ended:
            self._dead_at.setdefault((allocation.id, task), self._clock.monotonic())

    def _is_complete(self, allocation: Allocation, task: str) -> bool:
        """Whether the task ended so long ago that its log, which was read since, has its last lines."""
        dead_at = self._dead_at.get((allocation.id, task))
        return dead_at is not None and self._clock.monotonic() - dead_at >= LOG_SECONDS
