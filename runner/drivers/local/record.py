"""What the local driver's files say of a job: read, and put in the words that all drivers share."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import TypeVar

import msgspec

from runner.drivers.local import files
from runner.drivers.local.programs import Program
from runner.jobs import Report, Value
from runner.observation import Observation, Phase
from runner.runtime.logs import mask

log = logging.getLogger("orchestrator.local")

_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SPAN = 1 << 16
_HOST_FAILS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}

_File = TypeVar("_File", bound=Value)


class JobFile(Value, frozen=True, kw_only=True):
    """`job.json`. Without containers it stands for a job that was cancelled before it came."""

    name: str
    created: float
    boot: str
    monotonic: float
    queue_seconds: int
    pool: str = ""
    fingerprint: str = ""
    labels: Mapping[str, str] = {}
    report: Report | None = None
    directories: tuple[str, ...] = ()
    containers: tuple[Program, ...] = ()


class VerdictFile(Value, frozen=True):
    """`verdict.json`."""

    cancellation: Report | None


class End(Value, frozen=True):
    """`end.json`: what becomes part of the observation as it is."""

    phase: Phase
    ended: float
    init_exit: int | None = None
    main_exit: int | None = None
    timed_out: bool = False
    out_of_memory: bool = False
    disrupted: bool = False
    unschedulable: str = ""
    configuration_error: str = ""
    message: str = ""


class Reported(Value, frozen=True):
    """`reported.json`, as far as it is read. Seconds since the epoch."""

    at: float


class Entry(Value, frozen=True):
    """A job as it was found on the disk."""

    job: JobFile
    begun: bool
    end: End | None
    verdict: VerdictFile | None
    reported: Reported | None

    @property
    def phase(self) -> Phase:
        """A cancelled job has failed even where its program had just succeeded: the cancellation was first."""
        if self.end:
            return "failed" if self.cancellation else self.end.phase
        return "running" if self.begun else "waiting"

    @property
    def cancellation(self) -> Report | None:
        """What the cancellation has to report, where there was one."""
        return self.verdict.cancellation if self.verdict else None

    def __repr__(self) -> str:
        words = (self.phase, "cancelled" if self.cancellation else "", "reported" if self.reported else "")
        return f"Entry({self.job.name!r}, {', '.join(word for word in words if word)})"


class Records:
    """The jobs of one directory, read."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._logged: set[str] = set()

    def __repr__(self) -> str:
        return f"Records({self._directory!r})"

    def path(self, *parts: str) -> str:
        """A path below the directory."""
        return os.path.join(self._directory, *parts)

    def names(self) -> list[str]:
        """What may be jobs."""
        try:
            return sorted(filter(is_name, os.listdir(self._directory)))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> Entry | None:
        """The job as it stands, or None where there is none.

        The end is read before what is written before it, or it might be seen without that. The last look makes sure
        that nothing was missing only because the job was just being removed.
        """
        job = self._load(name, files.JOB, JobFile)
        if job is None:
            return None
        if job.name != name:
            raise msgspec.ValidationError(f"it is a copy of {job.name}")
        entry = Entry(
            job=job,
            end=self._load(name, files.END, End),
            begun=os.path.exists(self.path(name, files.BEGUN)),
            verdict=self._load(name, files.VERDICT, VerdictFile),
            reported=self._load(name, files.REPORTED, Reported),
        )
        return entry if os.path.exists(self.path(name, files.JOB)) else None

    def readable(self, name: str) -> Entry | None:
        """The job, or None for what is no job, which is logged once.

        A failure of the host is raised: it must not make a job disappear.
        """
        try:
            entry = self.read(name)
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            if isinstance(error, OSError) and error.errno in _HOST_FAILS:
                raise
            self._log_once(name, error)
            return None
        if entry is None and os.path.exists(self.path(name)):
            self._log_once(name, "it has no job.json")
        return entry

    def has_working_tree(self, name: str) -> bool:
        """Whether the job's volumes are still on the disk."""
        return os.path.exists(self.path(name, files.ROOT))

    def log(self, name: str, role: str, lines: int) -> str:
        """The last lines of a container's log; without a role, of the last container that has begun."""
        for each in [role] if role else ["main", "init"]:
            with suppress(FileNotFoundError):
                return mask(_tail(self.path(name, f"{each}.log"), lines))
        return ""

    def _load(self, name: str, file: str, kind: type[_File]) -> _File | None:
        try:
            with open(self.path(name, file), "rb") as content:
                return msgspec.json.decode(content.read(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _log_once(self, name: str, problem: object) -> None:
        if name not in self._logged:
            self._logged.add(name)
            log.warning("%s is left alone, since it cannot be read as a job: %s", self.path(name), problem)


def is_name(name: str) -> bool:
    """Whether a job may be called so. Names come from people as well; none may lead out of the directory."""
    return _NAME.match(name) is not None


def observation(entry: Entry, driver: str, log_tail: str) -> Observation:
    """The entry in the words that all drivers share."""
    end = msgspec.structs.asdict(entry.end) if entry.end else {}
    return Observation(
        name=entry.job.name,
        driver=driver,
        pool=entry.job.pool,
        created=entry.job.created,
        report=entry.job.report,
        fingerprint=entry.job.fingerprint,
        cancelled=entry.cancellation is not None,
        cancellation=entry.cancellation,
        reported=entry.reported is not None,
        log_tail=log_tail,
        **{**end, "phase": entry.phase},
    )


def is_due(entry: Entry, now: float, retention: float, orphan_age: float) -> bool:
    """Whether an ended job has been kept long enough: since its end was reported, or since the end where nobody did."""
    if entry.end is None:
        return False
    return now >= (entry.reported.at + retention if entry.reported else entry.end.ended + orphan_age)


def _tail(path: str, lines: int) -> str:
    """The last lines of a file. A line ends at a line feed and nowhere else."""
    with open(path, "rb") as file:
        size, span = file.seek(0, os.SEEK_END), _SPAN
        while True:
            file.seek(max(0, size - span))
            data = file.read()
            if span >= size or data.count(b"\n") > lines:
                return b"".join(deque(BytesIO(data), maxlen=max(0, lines))).decode(errors="replace")
            span *= 4
