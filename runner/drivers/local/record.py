"""Reads a job from the local driver's files, and turns it into an Observation."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any, TypeVar

import msgspec

from runner.drivers.local import files
from runner.drivers.local.programs import Program
from runner.jobs import Report, Value
from runner.observation import Observation, Outcome, Phase
from runner.outcomes import classify
from runner.security.masking import KEY_LINES, last_lines

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
    nonce: str = ""
    """Distinguishes jobs that have one name. Release 0.1 did not write it."""
    pool: str = ""
    fingerprint: str = ""
    labels: Mapping[str, str] = {}
    report: Report | None = None
    directories: tuple[str, ...] = ()
    containers: tuple[Program, ...] = ()

    @property
    def identity(self) -> str:
        """See Observation.identity."""
        return self.nonce or f"{self.created:.6f}"


class VerdictFile(Value, frozen=True, omit_defaults=True):
    """`verdict.json`: why the job ends. Without either it ended by itself. `cancelled.json` has the same shape."""

    cancellation: Report | None
    outcome: Outcome | None = None
    """What Driver.end stored."""


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
    container: str = ""
    message: str = ""


class ReportedFile(Value, frozen=True):
    """`reported.json` and `confirmed.json`."""

    at: float
    """Seconds since the epoch."""
    outcome: Outcome | None = None
    set_aside: bool = False
    """Atlas has refused it for good."""
    answer: str = ""
    """With which answer."""
    resent: int = 0
    """See Observation.resent. It does not count once the result was asked for again."""


class ResentFile(Value, frozen=True):
    """`resent.json`: how often, and when last, in seconds since the epoch."""

    times: int = 0
    at: float = 0.0


class StoredJob(Value, frozen=True):
    """A job as read from the disk."""

    job: JobFile
    begun: bool
    end: EndFile | None
    verdict: VerdictFile | None
    reported: ReportedFile | None
    late: VerdictFile | None = None
    """A cancellation that came after the end."""
    confirmed: ReportedFile | None = None
    resent: ResentFile = ResentFile()

    @property
    def phase(self) -> Phase:
        """A job that was stopped has failed even if its program succeeded: that was decided first."""
        if self.end:
            return "failed" if self.verdict and (self.verdict.cancellation or self.verdict.outcome) else self.end.phase
        return "running" if self.begun else "waiting"

    @property
    def cancellation(self) -> Report | None:
        """The report of the job's cancellation, or None if it was not cancelled."""
        first = self.verdict.cancellation if self.verdict else None
        return first or (self.late.cancellation if self.late else None)

    @property
    def marked(self) -> ReportedFile | None:
        """The mark that atlas has everything, or None if something is pending."""
        mark = self.confirmed if self.late else self.reported
        return mark if mark and mark.resent == self.resent.times else None

    @property
    def published(self) -> str:
        """See Observation.published."""
        mark = self.reported
        counts = mark and not mark.set_aside and mark.resent == self.resent.times
        return mark.outcome.reason if mark and mark.outcome and counts else ""

    def __repr__(self) -> str:
        words = (self.phase, "cancelled" if self.cancellation else "", "reported" if self.marked else "")
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

    def read(self, name: str, path: str = "") -> StoredJob | None:
        """The job, or None if there is none. `path` is its directory, if that may not have its name any more.

        The end is read before the files that are written before it, so it is never seen without them. The check at the
        end rules out that a file was missing only because the job was being removed.
        """
        path = path or self.path(name)
        job = _load(path, files.JOB, JobFile)
        if job is None:
            return None
        if job.name != name:
            raise msgspec.ValidationError(f"it is a copy of {job.name}")
        stored = StoredJob(
            job=job,
            end=_load(path, files.END, EndFile),
            begun=os.path.exists(os.path.join(path, files.BEGUN)),
            verdict=_load(path, files.VERDICT, VerdictFile),
            confirmed=_load(path, files.CONFIRMED, ReportedFile),
            late=_load(path, files.CANCELLED, VerdictFile),
            reported=_load(path, files.REPORTED, ReportedFile),
            resent=_load(path, files.RESENT, ResentFile) or ResentFile(),
        )
        return stored if os.path.exists(os.path.join(path, files.JOB)) else None

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
                return last_lines(_tail(self.path(name, f"{each}.log"), lines + KEY_LINES), lines)
        return ""

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
    seen = Observation(
        name=stored.job.name,
        driver=driver,
        pool=stored.job.pool,
        created=stored.job.created,
        identity=stored.job.identity,
        report=stored.job.report,
        fingerprint=stored.job.fingerprint,
        reported=stored.marked is not None,
        set_aside=stored.marked is not None and stored.marked.set_aside,
        answer=stored.marked.answer if stored.marked else "",
        published=stored.published,
        resent=stored.resent.times,
        log_tail=log_tail,
        **{**end, "phase": stored.phase, **_container(stored)},
    )
    ended_as = stored.verdict.outcome if stored.verdict else None
    return msgspec.structs.replace(
        seen,
        cancelled=stored.cancellation is not None,
        cancellation=stored.cancellation,
        ended_as=ended_as or (classify(seen) if stored.late else None),
    )


def _container(stored: StoredJob) -> dict[str, Any]:
    """The container that explains a failure, and the signal that killed it. Release 0.1 wrote only exit codes."""
    end = stored.end
    if end is None or stored.phase != "failed":
        return {"container": ""}
    role, code = ("init", end.init_exit) if end.main_exit is None else ("main", end.main_exit)
    known = [each.name for each in stored.job.containers if each.role == role and code is not None]
    return {"container": end.container or "".join(known), "signal": _signal(code)}


def _signal(code: int | None) -> int:
    """The signal in an exit code as a shell reports it, or 0."""
    return code - 128 if code is not None and 128 < code <= 128 + signal.SIGRTMAX else 0


def _load(path: str, file: str, kind: type[_File]) -> _File | None:
    try:
        with open(os.path.join(path, file), "rb") as content:
            return msgspec.json.decode(content.read(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None


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
