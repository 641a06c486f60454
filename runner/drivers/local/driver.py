"""The local driver: jobs run on this host, without a cluster, and outlive the process that submits them.

    submit ──▶ a directory for each job ──▶ shim ──▶ keeper ──▶ program
                        ▲                     │
    cancel, end, mark (decisions)             │          (files, locks: write the disk; record: reads it)
    list, sources, reconcile ◀───────────── end.json     (listing: remembers what was read)

The configuration maps an image to a command of this host; a volume is a directory. Programs run as the driver's user.
They are isolated neither from the host nor from each other, and limits on CPU and memory are not enforced.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from runner.config.drivers import LocalImage
from runner.drivers.claiming import MadeAtOnce, OtherPlaces, Place, held_elsewhere
from runner.drivers.driver import Driver, Due, Retention, Source
from runner.drivers.list_source import ListSource
from runner.drivers.local import files, locks, programs, record
from runner.drivers.local.decisions import Decisions
from runner.drivers.local.host_errors import host_errors
from runner.drivers.local.listing import JobListing
from runner.drivers.local.place import LocalPlace
from runner.drivers.local.reconciler import Reconciler
from runner.drivers.local.record import EndFile, JobFile, Records, StoredJob, VerdictFile, is_name
from runner.drivers.local.shims import Shims, environment
from runner.drivers.logs.following import Received, follow
from runner.drivers.logs.local import LocalLogSource
from runner.errors import Conflict, Rejected, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

TAIL_LINES, TAIL_BYTES = 50, 4096
"""How much of a failed container's log becomes evidence: at most so many lines, and characters."""

LIST_SECONDS = 0.25
"""Seconds between two lists of the tracker."""

PAUSE = 0.005
"""Seconds until the next read of a job that another process is creating."""


class LocalDriver(MadeAtOnce):
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
        self._decisions = Decisions(self._records, clock)
        self._listing = JobListing(self._directory, self._records, self._observe, clock)
        self._reconciler = Reconciler(self._directory, self._records, self._listing, self._shims, clock)
        self._place = LocalPlace(self._directory, self._find)
        self._engines: Sequence[Driver] = ()

    def __repr__(self) -> str:
        return f"LocalDriver({self._directory!r}, parallelism={self._parallelism})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit. Raises Rejected for an image that no entry of local.images matches."""
        return concurrency.run_in_thread(self._submit, job, deadline)

    def _submit(self, job: JobSpec, deadline: Deadline) -> State:
        _check_name(job.name)
        with host_errors(self._directory, f"creating {job.name}"):
            while True:
                deadline.check(f"creating {job.name}")
                if stored := self._records.read(job.name):
                    return self._repeat(stored, job)
                if state := self._make(job, deadline):
                    if state == "created":
                        self._shims.start()
                    return state
                self._clock.sleep(PAUSE)  # another process is creating it

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        return concurrency.run_in_thread(self._cancel, cancellation, deadline, tombstone)

    def _cancel(self, cancellation: Cancellation, deadline: Deadline, tombstone: bool) -> State | None:
        name = cancellation.name
        _check_name(name)
        with host_errors(self._directory, f"cancelling {name}"):
            while True:
                deadline.check(f"cancelling {name}")
                stored = self._records.read(name)
                if stored and (stored.job.containers or tombstone):
                    if state := self._decisions.cancel(cancellation):
                        return state
                elif not tombstone:
                    return None
                elif self._write_tombstone(cancellation):
                    return "cancelled"

    def list(self) -> Sequence[Observation]:
        """See Driver.list. A directory that is no job is logged once and ignored."""
        with host_errors(self._directory, "listing the jobs"):
            stored_jobs = [stored for name in self._records.names() if (stored := self._records.readable(name))]
            return [self._observe(stored) for stored in stored_jobs]

    def sources(self) -> Sequence[Source]:
        """See Driver.sources."""
        return [ListSource(self, LIST_SECONDS, listed=self._pending)]

    def _pending(self) -> Sequence[Observation]:
        with host_errors(self._directory, "listing the jobs that are not reported"):
            return [each.seen for each in self._listing.pending()]

    def places(self) -> Sequence[Place]:
        """See Driver.places."""
        return [self._place]

    def join(self, engines: Sequence[Driver]) -> None:
        """See Driver.join."""
        self._engines = engines

    def find(self, seen: Observation) -> Observation | None:
        """See Driver.find."""
        return self._find(seen.name)

    def _find(self, name: str) -> Observation | None:
        with host_errors(self._directory, f"reading {name}"):
            stored = self._records.read(name) if is_name(name) else None
            return self._observe(stored) if stored else None

    def explain(self, seen: Observation) -> Observation:
        """See Driver.explain. There are no events; a job may wait for a slot."""
        with host_errors(self._directory, "counting the jobs that run"):
            full = seen.phase == "waiting" and self._listing.running() >= self._parallelism
        reason = f"no slot is free: local.parallelism is {self._parallelism}"
        return msgspec.structs.replace(seen, unschedulable=reason) if full else seen

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.end. A job that has ended or was cancelled keeps its end."""
        with host_errors(self._directory, f"ending {seen.name}"):
            return self._decisions.end(seen, outcome)

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile."""
        with host_errors(self._directory, "reconciling the jobs"):
            return self._reconciler.run(expired)

    def due(self, expired: Retention) -> Sequence[Due]:
        """See Driver.due."""
        with host_errors(self._directory, "reading the jobs"):
            return list(self._reconciler.due(expired))

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.mark_reported."""
        with host_errors(self._directory, f"marking {seen.name} as reported"):
            return self._decisions.mark(seen, outcome)

    def set_aside(self, seen: Observation, outcome: Outcome, answer: str = "") -> bool:
        """See Driver.set_aside."""
        with host_errors(self._directory, f"setting {seen.name} aside"):
            return self._decisions.mark(seen, outcome, answer)

    def count_set_aside(self) -> int:
        """See Driver.count_set_aside."""
        with host_errors(self._directory, "counting the jobs that are set aside"):
            return self._listing.set_aside()

    def resend(self, seen: Observation) -> bool:
        """See Driver.resend."""
        with host_errors(self._directory, f"taking the mark from {seen.name}"):
            return self._decisions.resend(seen)

    def election(self) -> Path:
        """See Driver.election."""
        return Path(self._directory, files.TRACKER)

    def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
        """See Driver.logs."""
        _check_name(name)
        with host_errors(self._directory, f"reading the log of {name}"):
            stored = self._records.read(name)
            if stored is None:
                raise Rejected(f"there is no job {name} in {self._directory}; check the name")
            roles = {each.name: each.role for each in stored.job.containers}
            if container and container not in roles:
                raise Rejected(f"{name} has no container {container!r}; it has {', '.join(roles) or 'none'}")
            return self._records.log_tail(name, roles.get(container, ""), lines)

    def follow_logs(self, seen: Observation, received: Received, container: str = "") -> None:
        """See Driver.follow_logs."""
        _check_name(seen.name)
        follow(LocalLogSource(self._records, self._directory, seen, container), received, self._clock)

    def check(self) -> None:
        """See Driver.check."""
        concurrency.run_in_thread(self._check)

    def _check(self) -> None:
        if not self._images:
            raise Rejected("local.images has no entries, so no job can run; set local.images")
        if shutil.which(self._python) is None:
            raise Unavailable(f"{self._python} cannot be run, so no job can start; install Python there")
        with host_errors(self._directory, "creating a job as a test"):
            files.prepare(self._directory)
            files.probe(self._directory)

    def _repeat(self, stored: StoredJob, job: JobSpec) -> State:
        """The state that a repeated submit gives."""
        if stored.cancellation and not stored.late:
            return "cancelled"
        if not job.same_task(stored.job.fingerprint):
            raise Conflict(f"{job.name} exists and was made from a different request; a new run needs a new run_id")
        if stored.phase == "waiting":
            self._shims.restart([stored.job])
        return "exists"

    def _make(self, job: JobSpec, deadline: Deadline) -> State | None:
        """Create the job, unless another engine has it. None if another process is creating it, or has created it."""
        files.prepare(self._directory)
        making = self._records.path(files.MAKING, job.name)
        with locks.locked(making, make=True) as alone:
            if not alone or self._records.read(job.name):
                return None
            try:
                others = OtherPlaces.of([], self._engines)
                found = held_elsewhere(self._place, job.name, others, deadline) if self._engines else None
                if found:
                    return others.answer(found, job, deadline)
                return "created" if self._write(job) else None
            finally:
                files.unlink(making)

    def _write(self, job: JobSpec) -> bool:
        """Write the job's files. False if the name is taken."""
        root = self._records.path(job.name, files.ROOT)
        stamp = files.timestamps(self._clock.wall())
        file = JobFile(
            name=job.name,
            nonce=files.token(),
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
        """Create a job that has ended: cancelled before it was submitted. False if a submit was faster."""
        files.prepare(self._directory)
        stamp = files.timestamps(self._clock.wall())
        nonce = files.token()
        file = JobFile(name=cancellation.name, nonce=nonce, labels=cancellation.labels, queue_seconds=0, **stamp)
        end = EndFile(phase="failed", ended=file.created, message="cancelled before it was submitted")
        verdict = VerdictFile(cancellation.report)
        return self._put(cancellation.name, {files.JOB: file, files.VERDICT: verdict, files.END: end})

    def _put(self, name: str, contents: Mapping[str, object]) -> bool:
        encoded = {file: msgspec.json.encode(content) for file, content in contents.items()}
        made = files.make(self._directory, name, encoded)
        if not made and self._records.read(name) is None:
            raise Unavailable(f"{self._records.path(name)} exists and is no job; move it away")
        return made

    def _observe(self, stored: StoredJob) -> Observation:
        failed = stored.phase == "failed"
        tail = self._records.log_tail(stored.job.name, "", TAIL_LINES)[-TAIL_BYTES:] if failed else ""
        return record.observation(stored, self.name, tail)


def _check_name(name: str) -> None:
    """Users type names too, and none may refer to a path outside the directory."""
    if not is_name(name):
        raise Rejected(f"there is no job {name!r}, since that is not a valid name; correct it")
