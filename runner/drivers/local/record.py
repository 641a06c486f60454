"""What the local driver's files say: a job as the shim runs it, and what is to be seen of one.

Volumes are directories below the job's own root, and so are /toolbox and /tmp, which images bring. A program on the
host finds them by ORCHESTRATOR_ROOT, and by its variables: one that names such a path, or a path below it, is given
the path on the host instead. Arguments stay as they are.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from io import BytesIO
from typing import TypeVar

import msgspec

from runner.config.drivers import LocalImage
from runner.drivers.local import files as local_files
from runner.errors import Rejected
from runner.jobs import Container, JobSpec, Report, SecretRef, Text, Value
from runner.observation import Observation, Phase
from runner.runtime.logs import mask

log = logging.getLogger("orchestrator.local")

CODE, HOME, TOOLBOX, TEMPORARY = "/code", "/home/runner", "/toolbox", "/tmp"  # noqa: S108  (within the job's root)

_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SPAN = 1 << 16
_HOST_FAILS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}

_File = TypeVar("_File", bound=Value)


class Program(Value, frozen=True, kw_only=True):
    """A container as the shim runs it. Secrets are named, and looked up when the program is started."""

    role: str
    name: str
    image: str = ""
    argv: tuple[Text, ...] = ()
    env: dict[str, Text] = {}
    directory: str = ""
    seconds: int = 0


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


class Verdict(Value, frozen=True):
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
    verdict: Verdict | None
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
        self._strangers: set[str] = set()

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
        job = self._load(name, local_files.JOB, JobFile)
        if job is None:
            return None
        if job.name != name:
            raise msgspec.ValidationError(f"it is a copy of {job.name}")
        entry = Entry(
            job=job,
            end=self._load(name, local_files.END, End),
            begun=os.path.exists(self.path(name, local_files.BEGUN)),
            verdict=self._load(name, local_files.VERDICT, Verdict),
            reported=self._load(name, local_files.REPORTED, Reported),
        )
        return entry if os.path.exists(self.path(name, local_files.JOB)) else None

    def settled(self, name: str, now: float) -> Entry | None:
        """The same, once the job has been ended where its end went unnoticed. None, said once, for what is no job."""
        entry = self._readable(name)
        if entry and self._wants_a_look(entry):
            try:
                with local_files.locked(self.path(name, local_files.LOCK)) as idle:
                    if idle:
                        local_files.settle(self.path(name), now)
            except OSError as error:
                log.warning("%s may have ended, but that cannot be written down: %s", name, error)
            entry = self._readable(name)
        return entry

    def log(self, name: str, role: str, lines: int) -> str:
        """The last lines of a container's log; without a role, of the last container that has begun."""
        for each in [role] if role else ["main", "init"]:
            with suppress(FileNotFoundError):
                return mask(_tail(self.path(name, f"{each}.log"), lines))
        return ""

    def _wants_a_look(self, entry: Entry) -> bool:
        """Whether a job may have ended, or not been cleared up since. One that only waits is left for the shims."""
        if entry.end:
            return os.path.exists(self.path(entry.job.name, local_files.ROOT))
        return entry.begun or entry.verdict is not None or local_files.expired(msgspec.structs.asdict(entry.job))

    def _readable(self, name: str) -> Entry | None:
        """The job, or None for what is no job. A failure of the host is raised: it must not make a job disappear."""
        try:
            entry = self.read(name)
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            if isinstance(error, OSError) and error.errno in _HOST_FAILS:
                raise
            self._say_once(name, error)
            return None
        if entry is None and os.path.exists(self.path(name)):
            self._say_once(name, "it has no job.json")
        return entry

    def _load(self, name: str, file: str, kind: type[_File]) -> _File | None:
        try:
            with open(self.path(name, file), "rb") as content:
                return msgspec.json.decode(content.read(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _say_once(self, name: str, problem: object) -> None:
        if name not in self._strangers:
            self._strangers.add(name)
            log.warning("%s is left alone, since it cannot be read as a job: %s", self.path(name), problem)


def is_name(name: str) -> bool:
    """Whether a job may be called so. Names come from people as well; none may lead out of the directory."""
    return _NAME.match(name) is not None


def programs(job: JobSpec, root: str, images: Mapping[str, LocalImage], host: Mapping[str, str]) -> tuple[Program, ...]:
    """The job's containers, init first. `host` is what programs see of this host's environment.

    An entry may be named after a container as well: ssh-verify runs a script of ours in coat's image.

    Raises Rejected for an image that nothing stands for.
    """
    seconds = {"init": job.deadlines.clone, "main": job.deadlines.run}
    roles = {"init": job.init, "main": job.main}
    return tuple(
        Program(
            role=role,
            name=container.name,
            image=container.image,
            argv=_argv(container, image := images.get(container.name) or stand_in(container.image, images)),
            env=_environment(job, container, image, root, host),
            directory=f"{root}{CODE}",
            seconds=seconds[role],
        )
        for role, container in roles.items()
        if container
    )


def directories(job: JobSpec, root: str) -> tuple[str, ...]:
    """What is made before the programs start; a secret that a cluster would have is an empty directory here."""
    return tuple(dict.fromkeys(f"{root}{path}" for path in (CODE, HOME, *_mounts(job))))


def stand_in(image: str, images: Mapping[str, LocalImage]) -> LocalImage:
    """What stands for an image: the first whose glob fits the last part of its name, without tag and digest."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    for glob, found in images.items():
        if fnmatchcase(name, glob):
            return found
    raise Rejected(f"nothing on this host stands for the image {image}; add {name!r} to local.images")


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


def _argv(container: Container, image: LocalImage) -> tuple[Text, ...]:
    shown = _expands(image)
    args = [each if shown or isinstance(each, str) else f"$({each.name})" for each in container.args]
    return (*(_absolute(image.command) or container.command), *args)


def _absolute(command: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path is meant from where we were started; where the program is, the code under analysis lies."""
    if command and "/" in command[0]:
        return (os.path.abspath(command[0]), *command[1:])
    return command


def _environment(
    job: JobSpec, container: Container, image: LocalImage, root: str, host: Mapping[str, str]
) -> dict[str, Text]:
    """The host's, ours, the secrets that arguments refer to, and the container's own, which come first.

    CODE_PATH is there even for containers that are not told it, since it is no fixed path here.
    """
    places = {"ORCHESTRATOR_ROOT": "", "HOME": HOME, "TMPDIR": TEMPORARY, "CODE_PATH": CODE}
    ours = {name: f"{root}{place}" for name, place in places.items()}
    referred = {each.name: each for each in container.args if isinstance(each, SecretRef) and not _expands(image)}
    own = {name: _inside(value, root, _mounts(job)) for name, value in container.env}
    return {**host, **ours, **referred, **own}


def _expands(image: LocalImage) -> bool:
    return image.secret_arguments == "expand"  # noqa: S105  (no password)


def _inside(value: Text, root: str, mounts: tuple[str, ...]) -> Text:
    """A path within the job's file system as a path on the host."""
    if isinstance(value, str) and any(value == mount or value.startswith(f"{mount}/") for mount in mounts):
        return f"{root}{value}"
    return value


def _mounts(job: JobSpec) -> tuple[str, ...]:
    return (*(volume.path for volume in job.volumes), TOOLBOX, TEMPORARY)
