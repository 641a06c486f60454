"""Reads a job from the local driver's files, and turns it into an Observation."""

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
    """`job.json`. Without containers it is a tombstone: the job was cancelled before it was submitted."""

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
    """`verdict.json`: the report of the cancellation that ended the job, or None if it ended otherwise."""

    cancellation: Report | None


class EndFile(Value, frozen=True):
    """`end.json`. Its fields are those of Observation."""

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


class ReportedFile(Value, frozen=True):
    """`reported.json`, less the outcome, which is not read."""

    at: float
    """Seconds since the epoch."""


class StoredJob(Value, frozen=True):
    """A job as read from the disk."""

    job: JobFile
    begun: bool
    end: EndFile | None
    verdict: VerdictFile | None
    reported: ReportedFile | None

    @property
    def phase(self) -> Phase:
        """A cancelled job has failed even if its program succeeded: the cancellation was decided first."""
        if self.end:
            return "failed" if self.cancellation else self.end.phase
        return "running" if self.begun else "waiting"

    @property
    def cancellation(self) -> Report | None:
        """The report of the job's cancellation, or None if it was not cancelled."""
        return self.verdict.cancellation if self.verdict else None

    def __repr__(self) -> str:
        words = (self.phase, "cancelled" if self.cancellation else "", "reported" if self.reported else "")
        return f"StoredJob({self.job.name!r}, {', '.join(word for word in words if word)})"


class Records:
    """Reads the jobs of one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._logged: set[str] = set()

    def __repr__(self) -> str:
        return f"Records({self._directory!r})"

    def path(self, *parts: str) -> str:
        """A path below the directory."""
        return os.path.join(self._directory, *parts)

    def names(self) -> list[str]:
        """The names in the directory that may be jobs, sorted."""
        try:
            return sorted(filter(is_name, os.listdir(self._directory)))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> StoredJob | None:
        """The job, or None if there is none.

        The end is read before the files that are written before it, so it is never seen without them. The check at the
        end rules out that a file was missing only because the job was being removed.
        """
        job = self._load(name, files.JOB, JobFile)
        if job is None:
            return None
        if job.name != name:
            raise msgspec.ValidationError(f"it is a copy of {job.name}")
        stored = StoredJob(
            job=job,
            end=self._load(name, files.END, EndFile),
            begun=os.path.exists(self.path(name, files.BEGUN)),
            verdict=self._load(name, files.VERDICT, VerdictFile),
            reported=self._load(name, files.REPORTED, ReportedFile),
        )
        return stored if os.path.exists(self.path(name, files.JOB)) else None

    def readable(self, name: str) -> StoredJob | None:
        """The job, or None for a directory that is no job; that is logged once.

        An error of the host is raised, since a job that is not listed counts as deleted.
        """
        try:
            stored = self.read(name)
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            if isinstance(error, OSError) and error.errno in _HOST_FAILS:
                raise
            self._warn_once(name, error)
            return None
        if stored is None and os.path.exists(self.path(name)):
            self._warn_once(name, "it has no job.json")
        return stored

    def has_working_tree(self, name: str) -> bool:
        """Whether the job's volumes are on the disk."""
        return os.path.exists(self.path(name, files.ROOT))

    def log_tail(self, name: str, role: str, lines: int) -> str:
        """The last lines of a container's log. An empty role means the last container that has begun."""
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

    def _warn_once(self, name: str, problem: object) -> None:
        if name not in self._logged:
            self._logged.add(name)
            log.warning("%s cannot be read as a job: %s; ignored, remove it by hand", self.path(name), problem)


def is_name(name: str) -> bool:
    """Whether this can be a job's name. Users type names too, and none may refer to a path outside the directory."""
    return _NAME.match(name) is not None


def observation(stored: StoredJob, driver: str, log_tail: str) -> Observation:
    """The job as an Observation, the type that all drivers share."""
    end = msgspec.structs.asdict(stored.end) if stored.end else {}
    return Observation(
        name=stored.job.name,
        driver=driver,
        pool=stored.job.pool,
        created=stored.job.created,
        report=stored.job.report,
        fingerprint=stored.job.fingerprint,
        cancelled=stored.cancellation is not None,
        cancellation=stored.cancellation,
        reported=stored.reported is not None,
        log_tail=log_tail,
        **{**end, "phase": stored.phase},
    )


def is_due(stored: StoredJob, now: float, retention: float, orphan_age: float) -> bool:
    """Whether an ended job is to be removed: `retention` seconds after its report, or `orphan_age` after its end."""
    if stored.end is None:
        return False
    return now >= (stored.reported.at + retention if stored.reported else stored.end.ended + orphan_age)


def _tail(path: str, lines: int) -> str:
    """The last lines of a file. Only a line feed ends a line."""
    with open(path, "rb") as file:
        size, span = file.seek(0, os.SEEK_END), _SPAN
        while True:
            file.seek(max(0, size - span))
            data = file.read()
            if span >= size or data.count(b"\n") > lines:
                return b"".join(deque(BytesIO(data), maxlen=max(0, lines))).decode(errors="replace")
            span *= 4
