"""The local driver: jobs really run on this host, without any cluster, and outlive whoever asked for them.

    submit ──▶ a directory for each job ──▶ shim (local_shim) ──▶ keeper ──▶ program (local_container)
                        ▲                         │
    cancel, observe, collect ◀────── end.json     (local_files: what lies where, and every lock; local_record: in words)

An image is what the configuration says stands for it on this host, and a volume is a directory. Programs are isolated
neither from the host nor from each other, and run as whoever runs this; limits on CPU and memory are not enforced.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from runner.config.drivers import LocalImage
from runner.drivers.local import files, locks, programs, record
from runner.drivers.local.record import End, Entry, JobFile, Records, VerdictFile, is_due, is_name
from runner.errors import Busy, Conflict, Rejected, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

log = logging.getLogger("orchestrator.local")

LEFTOVER_AGE = 600
"""Seconds after which what was being made is taken for left behind. It takes milliseconds; and a maker who comes back
after all fails, and his request is repeated."""

START_SECONDS = 5.0
"""How long a submit waits for a shim to be on its own feet. One that takes longer is started all the same."""

TAIL_LINES, TAIL_BYTES = 50, 4096
"""How much of a failed container's log is evidence."""

PAUSE = 0.005
"""Seconds between two looks at a job that somebody else is just making."""

SHIM_LOG, SHIM_LOG_LIMIT = ".shim.log", 1 << 20
"""What shims have to complain about. Begun anew once it has so many bytes."""

_SHIM = str(Path(__file__).with_name("shim.py"))
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class LocalDriver:
    """Jobs in a directory of this host. Any number of instances, in any number of processes, may share it."""

    name = "local"

    def __init__(
        self,
        directory: Path,
        *,
        parallelism: int,
        images: Mapping[str, LocalImage],
        resolve_secrets: ResolveSecrets,
        clock: Clock,
        python: str = sys.executable,
    ) -> None:
        self._directory = os.path.abspath(directory)
        self._parallelism = parallelism
        self._images = images
        self._resolve_secrets = resolve_secrets
        self._clock = clock
        self._python = python
        self._records = Records(self._directory)

    def __repr__(self) -> str:
        return f"LocalDriver({self._directory!r}, parallelism={self._parallelism})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit. Raises Rejected for an image that nothing on this host stands for."""
        return concurrency.run_in_thread(self._submit, job, deadline)

    def _submit(self, job: JobSpec, deadline: Deadline) -> State:
        _refuse_path(job.name)
        with self._errors(f"creating {job.name}"):
            while True:
                deadline.check(f"creating {job.name}")
                if entry := self._records.read(job.name):
                    return self._repeat(entry, job)
                if self._make(job):
                    self._start_shim()
                    return "created"
                self._clock.sleep(PAUSE)  # somebody else is making it

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        return concurrency.run_in_thread(self._cancel, cancellation, deadline, tombstone)

    def _cancel(self, cancellation: Cancellation, deadline: Deadline, tombstone: bool) -> State | None:
        name = cancellation.name
        _refuse_path(name)
        with self._errors(f"cancelling {name}"):
            while True:
                deadline.check(f"cancelling {name}")
                entry = self._records.read(name)
                if entry and (entry.job.containers or tombstone):
                    return self._stop(cancellation)
                if not tombstone:
                    return None
                if self._bury(cancellation):
                    return "cancelled"

    def observe(self) -> list[Observation]:
        """See Driver.observe. What is no job of ours is said once and left alone."""
        with self._errors("looking at the jobs"):
            now = self._clock.wall()
            entries = [entry for name in self._records.names() if (entry := self._records.settled(name, now))]
            self._mend([entry.job for entry in entries if entry.phase == "waiting"])
            return [record.observation(entry, self.name, self._evidence(entry)) for entry in entries]

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported. The first mark counts."""
        with self._errors(f"marking {name} as reported"), suppress(FileNotFoundError):
            if is_name(name) and self._records.read(name):
                report = {"at": self._clock.wall(), "outcome": msgspec.to_builtins(outcome)}
                files.write_once(self._records.path(name, files.REPORTED), report)

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        _refuse_path(name)
        with self._errors(f"reading the log of {name}"):
            entry = self._records.read(name)
            if entry is None:
                raise Rejected(f"there is no job {name}")
            roles = {each.name: each.role for each in entry.job.containers}
            if container and container not in roles:
                raise Rejected(f"{name} has no container {container!r}; it has {', '.join(roles) or 'none'}")
            return self._records.log(name, roles.get(container, ""), lines)

    def check(self) -> None:
        """See Driver.check."""
        concurrency.run_in_thread(self._check)

    def _check(self) -> None:
        if not self._images:
            raise Rejected("nothing on this host stands for any image; set local.images")
        if shutil.which(self._python) is None:
            raise Unavailable(f"{self._python} cannot be run, and the jobs' shims are started by it")
        with self._errors("trying to write a job"):
            files.prepare(self._directory)
            files.probe(self._directory)

    def collect(self, retention: float, orphan_age: float) -> int:
        """Remove what is no longer needed, and give the number of jobs removed.

        An ended job goes `retention` seconds after its end was reported; one whose end nobody reported goes
        `orphan_age` seconds after it, so that a tracker gone for good does not fill the disk. Never a job that waits
        or runs. What cannot be removed is said, and tried again the next time.
        """
        now = self._clock.wall()
        with self._errors("removing what is no longer needed"):
            names = self._records.names()
            self._sweep()
        return sum(self._remove(name, lambda entry: is_due(entry, now, retention, orphan_age)) for name in names)

    def _repeat(self, entry: Entry, job: JobSpec) -> State:
        """What a second submit finds."""
        if entry.cancellation:
            return "cancelled"
        if entry.job.fingerprint != job.fingerprint:
            raise Conflict(f"{job.name} exists and was made from a different request; a new run needs a new run_id")
        if entry.phase == "waiting":
            self._mend([entry.job])
        return "exists"

    def _make(self, job: JobSpec) -> bool:
        """Make the job, unless somebody else is just making it, or has made it."""
        files.prepare(self._directory)
        making = self._records.path(files.MAKING, job.name)
        with locks.locked(making, make=True) as alone:
            if not alone or self._records.read(job.name):
                return False
            try:
                return self._write(job)
            finally:
                files.forget(making)

    def _write(self, job: JobSpec) -> bool:
        root = self._records.path(job.name, files.ROOT)
        stamp = files.stamp(self._clock.wall())
        file = JobFile(
            name=job.name,
            pool=job.pool,
            fingerprint=job.fingerprint,
            labels=job.labels,
            report=job.report,
            queue_seconds=job.deadlines.queue,
            directories=programs.directories(job, root),
            containers=programs.programs(job, root, self._images, _environment()),
            **stamp,
        )
        secrets = self._resolve_secrets(job)
        files.enqueue(self._directory, job.name, file.created)
        return self._put(job.name, {files.JOB: file, files.SECRETS: secrets})

    def _bury(self, cancellation: Cancellation) -> bool:
        """Make a job that was cancelled before it came, and has ended. False where a submit was faster."""
        files.prepare(self._directory)
        stamp = files.stamp(self._clock.wall())
        file = JobFile(name=cancellation.name, labels=cancellation.labels, queue_seconds=0, **stamp)
        end = End(phase="failed", ended=file.created, message="cancelled before it came")
        verdict = VerdictFile(cancellation.report)
        return self._put(cancellation.name, {files.JOB: file, files.VERDICT: verdict, files.END: end})

    def _put(self, name: str, contents: Mapping[str, object]) -> bool:
        encoded = {file: msgspec.json.encode(content) for file, content in contents.items()}
        made = files.make(self._directory, name, encoded)
        if not made and self._records.read(name) is None:
            raise Unavailable(f"{self._records.path(name)} is there and is no job; move it away")
        return made

    def _stop(self, cancellation: Cancellation) -> State:
        """Cancel a job that is there. Its shim sees the verdict and ends it; where it has none, it is ended here."""
        path = self._records.path(cancellation.name)
        with locks.locked(os.path.join(path, files.LOCK)) as idle:
            if idle:
                files.end_if_over(path, self._clock.wall())
            verdict = msgspec.to_builtins(VerdictFile(cancellation.report))
            files.write_once(os.path.join(path, files.VERDICT), verdict)
            if idle:
                files.end_if_over(path, self._clock.wall())
        entry = self._records.read(cancellation.name)
        return "cancelled" if entry is None or entry.cancellation else "exists"

    def _mend(self, waiting: list[JobFile]) -> None:
        """Have jobs run that wait, if there is room."""
        try:
            for job in waiting:
                files.enqueue(self._directory, job.name, job.created)
        except OSError as error:
            log.warning("a job that waits could not be put into the queue again: %s", error)
        for _ in waiting:
            if not self._start_shim():
                return

    def _start_shim(self) -> bool:
        """Start a shim if a slot is free. One that can't be started is said: its job has been made, and waits."""
        try:
            slot = files.take_slot(self._directory, self._parallelism)
            if slot is None:
                return False
            try:
                self._spawn(slot)
            finally:
                os.close(slot)
        except OSError as error:
            log.error("no shim could be started, so jobs wait: %s", error)
            return False
        return True

    def _spawn(self, slot: int) -> None:
        """Start a shim that inherits the slot, and nothing else."""
        arguments = [self._directory, str(self._parallelism), str(slot)]
        with open(self._records.path(SHIM_LOG), "ab", opener=_open_shim_log) as output:
            shim = subprocess.Popen(
                [self._python, "-I", "-S", "-X", "utf8", _SHIM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd="/",
                pass_fds=(slot,),
                start_new_session=True,
            )
        with suppress(subprocess.TimeoutExpired):
            if shim.wait(START_SECONDS):
                log.error("a shim could not start; see %s", self._records.path(SHIM_LOG))

    def _evidence(self, entry: Entry) -> str:
        """The end of a failed job's log."""
        if entry.phase != "failed":
            return ""
        return self._records.log(entry.job.name, "", TAIL_LINES)[-TAIL_BYTES:]

    def _remove(self, name: str, due: Callable[[Entry], bool]) -> bool:
        """Remove a job if it is due and nobody is at it. It is looked at again once it can't change any more."""
        try:
            entry = self._records.settled(name, self._clock.wall())
            if entry is None or not due(entry):
                return False
            with locks.locked(self._records.path(name, files.LOCK)) as idle:
                entry = self._records.read(name) if idle else None
                if entry and due(entry):
                    files.discard(self._directory, name)
                    return True
        except OSError as error:
            log.warning("%s could not be removed: %s", name, error)
        return False

    def _sweep(self) -> None:
        """Remove what a crash left: jobs half made or half removed, entries and locks of jobs that never came."""
        for leftover in files.leftovers(self._directory, LEFTOVER_AGE):
            try:
                files.remove(leftover)
            except OSError as error:
                log.warning("%s could not be removed: %s", leftover, error)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """The host's errors as ours."""
        try:
            yield
        except OSError as error:
            kind = Busy if error.errno in _FULL else Unavailable
            raise kind(f"{doing} in {self._directory} failed: {error.strerror or error}") from error
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{doing} in {self._directory} failed: a file there cannot be read: {error}") from error


def _refuse_path(name: str) -> None:
    """Names come from people as well; none may lead out of the directory."""
    if not is_name(name):
        raise Rejected(f"there is no job {name!r}, and there can be none of that name")


def _environment() -> dict[str, str]:
    """All that programs see of ours, shims included."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}


def _open_shim_log(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_size > SHIM_LOG_LIMIT:
        os.ftruncate(descriptor, 0)
    return descriptor
