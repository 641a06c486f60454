"""Decides what happens to a job that exists on the local driver's disk: it is cancelled, ended, or marked as reported.

Each decision is a file that is written once, so the first one holds, whichever process makes it. It is written into the
very directory that was read: a job made anew under the same name has another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from runner.drivers.local import files, locks
from runner.drivers.local.record import Records, ReportedFile, ResentFile, VerdictFile, is_name
from runner.jobs import Cancellation, State
from runner.observation import Observation, Outcome
from runner.runtime.clock import Clock


class Decisions:
    """The decisions on the jobs of one directory."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def __repr__(self) -> str:
        return f"Decisions({self._records!r})"

    def cancel(self, cancellation: Cancellation) -> State | None:
        """Cancel the job. Its shim reads verdict.json and ends it; without a shim it is ended here.

        A job that has ended before keeps its end. None if there is no such job any more.
        """
        with self._directory_of(cancellation.name) as path:
            if path is None:
                return None
            self._decide(path, VerdictFile(cancellation.report))
            stored = self._records.read(cancellation.name, path)
            if stored is None or (stored.verdict and stored.verdict.cancellation):
                return "cancelled"
            late = VerdictFile(cancellation.report)
            files.write_once(os.path.join(path, files.CANCELLED), msgspec.to_builtins(late))
            _touch(self._records.path(files.LATE))
            return "exists"

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.end."""
        with self._directory_of(seen.name, seen.identity) as path, suppress(FileNotFoundError):
            stored = self._records.read(seen.name, path) if path else None
            if path is None or stored is None or (stored.end and stored.verdict is None):
                return False
            self._decide(path, VerdictFile(None, outcome))
            stored = self._records.read(seen.name, path)
            kept = stored.verdict.outcome if stored and stored.verdict and not stored.cancellation else None
            return kept is not None and kept.reason == outcome.reason
        return False

    def mark(self, seen: Observation, outcome: Outcome, refusal: str | None = None) -> bool:
        """See Driver.mark_reported and, with atlas's answer, Driver.set_aside. A second mark changes nothing.

        A cancellation after the end needs a mark of its own. So a mark of the end that is late reports only the end.
        """
        with self._directory_of(seen.name, seen.identity) as path, suppress(FileNotFoundError):
            stored = self._records.read(seen.name, path) if path else None
            if path is None or stored is None:
                return False
            if stored.resent.times != seen.resent or (stored.cancellation and not stored.late and not seen.cancelled):
                return False
            late = stored.late and seen.cancelled
            mark, file = (stored.confirmed, files.CONFIRMED) if late else (stored.reported, files.REPORTED)
            if mark is None or mark.resent != seen.resent:
                report = ReportedFile(
                    self._clock.wall(), outcome, refusal is not None, refusal or "", resent=seen.resent
                )
                write = files.write_once if mark is None else files.write
                write(os.path.join(path, file), msgspec.to_builtins(report))
            return seen.cancelled or not os.path.exists(os.path.join(path, files.CANCELLED))
        return False

    def resend(self, seen: Observation) -> bool:
        """See Driver.resend. The marks stay on the disk, and count no longer."""
        with self._directory_of(seen.name, seen.identity) as path, suppress(FileNotFoundError):
            stored = self._records.read(seen.name, path) if path else None
            if path is None or stored is None or stored.end is None or not stored.marked:
                return False
            file = ResentFile(stored.resent.times + 1, self._clock.wall())
            files.write(os.path.join(path, files.RESENT), msgspec.to_builtins(file))
            _touch(self._records.path(files.LATE))
            now = self._records.read(seen.name)  # by its name: it may have been removed meanwhile
            return now is not None and now.job.identity == seen.identity
        return False

    def _decide(self, path: str, verdict: VerdictFile) -> None:
        """Write the verdict unless there is one, and end the job if no process runs it."""
        content: Mapping[str, Any] = msgspec.to_builtins(verdict)
        with locks.locked(os.path.join(path, files.LOCK)) as idle:
            if idle:
                files.end_if_over(path, self._clock.wall())
            files.write_once(os.path.join(path, files.VERDICT), content)
            if idle:
                files.end_if_over(path, self._clock.wall())

    @contextmanager
    def _directory_of(self, name: str, identity: str | None = None) -> Iterator[str | None]:
        """A path that leads to this job's directory even if another takes its name. None if no job has the identity."""
        descriptor = _open(self._records.path(name)) if is_name(name) else None
        if descriptor is None:
            yield None
            return
        try:
            path = f"/proc/self/fd/{descriptor}"
            stored = self._records.read(name, path)
            yield path if stored and identity in (None, stored.job.identity) else None
        finally:
            os.close(descriptor)


def _open(path: str) -> int | None:
    """The descriptor of a directory, or None if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    return None


def _touch(path: str) -> None:
    """Set the time of the last change of a file, which need not exist."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.utime(path)
