"""Keeps what was read of the local driver's jobs, so that a round reads only what has changed.

Every file of a job is created by rename(2) or link(2), which change the modification time of the job's directory. So a
job that waits or runs costs one stat(2). A settled job (ended, reported, its working tree removed) costs nothing: only
a cancellation changes it, which also touches `files.LATE`. Once in RESYNC_SECONDS everything is read again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from runner.drivers.driver import Retention
from runner.drivers.local import files
from runner.drivers.local.record import Records, ReportedFile, StoredJob, is_name
from runner.drivers.local.retention import is_kept
from runner.observation import Observation
from runner.runtime.clock import Clock

RESYNC_SECONDS = 60.0

FRESH_SECONDS = 2.0
"""A directory that has changed so recently may change again without another modification time: file systems count in
steps of up to a second or two."""

Stamp = tuple[int, int]
"""Inode and modification time, in nanoseconds. Zeros for a path that does not exist."""

Stamps = tuple[Stamp | None, Stamp | None]
"""Those of the directory and of `files.LATE`."""


class PendingJob(NamedTuple):
    """A job that is not settled, as it was read when its directory had that stamp. None: read it again."""

    stamp: Stamp | None
    stored: StoredJob
    seen: Observation


class SettledJob(NamedTuple):
    """What is kept of a settled job."""

    inode: int
    marked: ReportedFile


class JobListing:
    """The jobs of one directory. Any number of threads may use it."""

    def __init__(
        self, directory: str, records: Records, observe: Callable[[StoredJob], Observation], clock: Clock
    ) -> None:
        self._directory = directory
        self._records = records
        self._observe = observe
        self._clock = clock
        self._lock = threading.Lock()
        self._resync = float("-inf")
        self._stamps: Stamps = (None, None)
        self._names: list[str] = []
        self._pending: dict[str, PendingJob] = {}
        self._settled: dict[str, SettledJob] = {}
        self._running: int | None = None

    def __repr__(self) -> str:
        return f"JobListing({len(self._pending)} pending, {len(self._settled)} settled)"

    def pending(self) -> list[PendingJob]:
        """The jobs that are not reported, sorted by name. Raises OSError if the host fails."""
        with self._lock:
            stamps = (self._stamp(), self._stamp(files.LATE))
            names = self._candidates(stamps)
            self._stamps = (None, None)  # if a read fails, the next call begins anew
            self._names = [name for name in names if not self._read(name)]
            self._stamps = stamps
            found = [self._pending[name] for name in self._names if name in self._pending]
            self._pending = {each.stored.job.name: each for each in found}
            self._running = sum(each.stored.phase == "running" for each in found)
            return [each for each in found if not each.stored.marked]

    def running(self) -> int:
        """How many jobs run, as of the last call of `pending`. Raises OSError if the host fails."""
        if self._running is None:
            self.pending()
        return self._running or 0

    def set_aside(self) -> int:
        """How many jobs are set aside. Raises OSError if the host fails."""
        self.pending()
        with self._lock:
            settled = [each.marked for each in list(self._settled.values())]
            marks = settled + [each.stored.marked for each in self._pending.values()]
        return sum(mark is not None and mark.set_aside for mark in marks)

    def is_kept(self, name: str, now: float, expired: Retention) -> bool:
        """Whether this job is settled, and not old enough to be removed. It needs no read."""
        settled = self._settled.get(name)
        return settled is not None and is_kept(settled.marked, now, expired)

    def forget(self, name: str) -> None:
        """A job was removed. The next of that name may get the same inode."""
        self._settled.pop(name, None)

    def _candidates(self, stamps: Stamps) -> list[str]:
        """The names of all jobs that may not be settled."""
        now = self._clock.monotonic()
        if now >= self._resync or stamps[1] is None or stamps[1] != self._stamps[1]:
            self._resync = now + RESYNC_SECONDS
            self._settled.clear()
        elif stamps[0] is not None and stamps[0] == self._stamps[0]:
            return self._names
        return sorted(name for name, inode in self._scan() if not self._is_settled(name, inode))

    def _is_settled(self, name: str, inode: int) -> bool:
        settled = self._settled.get(name)
        return settled is not None and settled.inode == inode

    def _scan(self) -> list[tuple[str, int]]:
        try:
            with os.scandir(self._directory) as entries:
                return [(entry.name, entry.inode()) for entry in entries if is_name(entry.name)]
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> bool:
        """Read a job again if it has changed. True if it is settled, so that it need not be read any more."""
        stamp, known = self._stamp(name), self._pending.get(name)
        if known and stamp and known.stamp == stamp:
            return False
        self._pending.pop(name, None)
        stored = self._records.readable(name)
        if stored is None:
            return False
        if stamp and stored.end and stored.marked and not self._records.has_working_tree(name):
            self._settled[name] = SettledJob(stamp[0], stored.marked)
            return True
        self._pending[name] = PendingJob(stamp, stored, self._observe(stored))
        return False

    def _stamp(self, name: str = "") -> Stamp | None:
        """The stamp of a file in the directory, taken before it is read. None if it is too fresh to be relied on."""
        try:
            status = os.stat(os.path.join(self._directory, name))
        except OSError:  # if it matters, reading the job fails too
            return 0, 0
        fresh = self._clock.wall() - status.st_mtime < FRESH_SECONDS
        return None if fresh else (status.st_ino, status.st_mtime_ns)
