"""The logs of a job of the memory driver, which runs no program: what the test says its main container has printed."""

from __future__ import annotations

from runner.drivers.logs.following import Find, LogLines, chosen
from runner.jobs import JobSpec
from runner.observation import Observation


class MemoryLogSource:
    """See LogSource. There is no output before the job's end."""

    def __init__(self, find: Find, seen: Observation, job: JobSpec | None, container: str) -> None:
        self._find = find
        self._seen = seen
        self._containers = chosen(seen.name, names(job), container)

    def __repr__(self) -> str:
        return f"MemoryLogSource({self._seen.name!r})"

    def read(self, lines: LogLines) -> bool:
        """See LogSource.read."""
        now = self._find(self._seen)
        if now is None or now.identity != self._seen.identity:
            return True
        for container in self._containers[-1:]:
            lines.write(container, now.log_tail.encode(errors="replace"))
        return now.ended is not None


def names(job: JobSpec | None) -> list[str]:
    """The names of its containers; none for a tombstone."""
    return [each.name for each in job.containers] if job else []
