"""The logs of a job of the local driver: a file for each container."""

from __future__ import annotations

from runner.drivers.local.host_errors import host_errors
from runner.drivers.local.record import Records, StoredJob
from runner.drivers.logs.following import LogLines, chosen
from runner.drivers.logs.offset import LogOffset
from runner.errors import Rejected
from runner.observation import Observation


class LocalLogSource:
    """See LogSource. A file that becomes too long is shortened in its middle, while it is written."""

    def __init__(self, records: Records, directory: str, seen: Observation, container: str) -> None:
        self._records = records
        self._directory = directory
        self._seen = seen
        if (stored := self._stored()) is None:
            raise Rejected(f"there is no job {seen.name} any more in {directory}; see `jobs list --all`")
        roles = {each.name: each.role for each in stored.job.containers}
        wanted = chosen(seen.name, list(roles), container)
        self._logs = [(name, records.path(seen.name, f"{roles[name]}.log"), LogOffset()) for name in wanted]

    def __repr__(self) -> str:
        return f"LocalLogSource({self._seen.name!r})"

    def read(self, lines: LogLines) -> bool:
        """See LogSource.read. The end is read before the logs: they are complete by then."""
        stored = self._stored()
        for name, path, offset in self._logs if stored else ():
            lines.write(name, self._new(path, offset))
        return stored is None or stored.end is not None

    def _stored(self) -> StoredJob | None:
        """The job; None if it is gone."""
        with host_errors(self._directory, f"reading {self._seen.name}"):
            stored = self._records.read(self._seen.name)
        return stored if stored and stored.job.identity == self._seen.identity else None

    def _new(self, path: str, offset: LogOffset) -> bytes:
        """What is new in the file; nothing if there is none: the container has not started, or the job was removed."""

        def read_from(start: int) -> bytes:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read()

        with host_errors(self._directory, f"reading the log of {self._seen.name}"):
            try:
                return offset.new(read_from)
            except FileNotFoundError:
                return b""
