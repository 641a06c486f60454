"""The local driver: jobs run on this host, without any cluster, and outlive the process that asked for them.

    submit ──▶ a directory for each job ──▶ shim ──▶ keeper ──▶ program
                        ▲                     │
    cancel, list, reconcile ◀────────────── end.json     (files, locks: what is on the disk; record: what it means)

The configuration maps an image to a command of this host; a volume is a directory. Programs are isolated neither from
the host nor from each other, and run as the driver's user; limits on CPU and memory are not enforced.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from runner.config.drivers import LocalImage
from runner.drivers.driver import Retention
from runner.drivers.local import files, locks, programs, record
from runner.drivers.local.reconciler import Reconciler
from runner.drivers.local.record import End, Entry, JobFile, Records, VerdictFile, is_name
from runner.drivers.local.shims import Shims, environment
from runner.errors import Busy, Conflict, Rejected, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

log = logging.getLogger("orchestrator.local")

TAIL_LINES, TAIL_BYTES = 50, 4096
"""How much of a failed container's log is evidence."""

PAUSE = 0.005
"""Seconds until the next read of a job that another process is making."""

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
        self._shims = Shims(self._directory, parallelism, python)
        self._reconciler = Reconciler(self._directory, self._records, self._shims, clock)

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
                    self._shims.start()
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
                if self._write_tombstone(cancellation):
                    return "cancelled"

    def list(self) -> Sequence[Observation]:
        """See Driver.list. A directory that is no job is logged once and left alone."""
        with self._errors("listing the jobs"):
            entries = [entry for name in self._records.names() if (entry := self._records.readable(name))]
            return [record.observation(entry, self.name, self._evidence(entry)) for entry in entries]

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile."""
        with self._errors("reconciling the jobs"):
            return self._reconciler.run(expired)

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

    def _repeat(self, entry: Entry, job: JobSpec) -> State:
        """What a second submit finds."""
        if entry.cancellation:
            return "cancelled"
        if entry.job.fingerprint != job.fingerprint:
            raise Conflict(f"{job.name} exists and was made from a different request; a new run needs a new run_id")
        if entry.phase == "waiting":
            self._shims.restart([entry.job])
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
            containers=programs.programs(job, root, self._images, environment()),
            **stamp,
        )
        secrets = self._resolve_secrets(job)
        files.enqueue(self._directory, job.name, file.created)
        return self._put(job.name, {files.JOB: file, files.SECRETS: secrets})

    def _write_tombstone(self, cancellation: Cancellation) -> bool:
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

    def _evidence(self, entry: Entry) -> str:
        """The end of a failed job's log."""
        if entry.phase != "failed":
            return ""
        return self._records.log(entry.job.name, "", TAIL_LINES)[-TAIL_BYTES:]

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
