"""The local driver's reconcile: ends jobs whose shim died, restarts waiting jobs, removes old ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import msgspec

from runner.drivers.driver import Due, Retention
from runner.drivers.local import files, locks
from runner.drivers.local.listing import JobListing
from runner.drivers.local.record import Records, StoredJob
from runner.drivers.local.retention import is_due
from runner.drivers.local.shims import Shims
from runner.runtime.clock import Clock

log = logging.getLogger("orchestrator.local")

LEFTOVER_AGE = 600
"""Seconds after which an incomplete job counts as left by a crash. Creating one takes milliseconds. A process that was
suspended for longer fails, and its request is repeated."""


class Reconciler:
    """The jobs of one directory. Any number of processes may run it at once: every step holds a lock."""

    def __init__(self, directory: str, records: Records, listing: JobListing, shims: Shims, clock: Clock) -> None:
        self._directory = directory
        self._records = records
        self._listing = listing
        self._shims = shims
        self._clock = clock

    def run(self, expired: Retention | None) -> int:
        """See Driver.reconcile. Reported jobs are read only with `expired`, which says how long to keep them."""
        pending = [each.stored for each in self._listing.pending()]
        stored_jobs = [ended for stored in (self._all(expired) if expired else pending) if (ended := self._end(stored))]
        self._shims.restart([stored.job for stored in stored_jobs if stored.phase == "waiting"])
        if expired is None or not os.path.isdir(self._directory):
            return 0
        self._remove_leftovers()
        return sum(self._remove(stored.job.name, expired) for stored in stored_jobs if self._is_due(stored, expired))

    def due(self, expired: Retention) -> Iterator[Due]:
        """See Driver.due. No lock is taken that another process may need."""
        for name in self._records.names():
            stored = self._records.readable(name)
            if stored and (why := self._over_because(stored)):
                yield Due(name, "", "end", why)
            elif stored and stored.phase == "waiting":
                yield Due(name, "", "start", "it waits: a shim is started for it if a slot is free")
            elif stored and self._is_due(stored, expired):
                yield Due(name, "", "remove", "it has been kept for long enough")

    def _over_because(self, stored: StoredJob) -> str:
        """Why the job is over, if it is and has no end. See files.end_if_over."""
        lock = self._records.path(stored.job.name, files.LOCK)
        if stored.end or not self._may_have_ended(stored) or locks.is_locked(lock):
            return ""
        if stored.begun:
            return "the process that ran it was killed, or the host went down"
        return "it was stopped before it began" if stored.verdict else "no slot became free for it in time"

    def _all(self, expired: Retention) -> list[StoredJob]:
        """Every job except those that were reported a short time ago: nothing is to be done for these."""
        now, names = self._clock.wall(), self._records.names()
        wanted = [name for name in names if not self._listing.is_kept(name, now, expired)]
        return [stored for name in wanted if (stored := self._records.readable(name))]

    def _end(self, stored: StoredJob) -> StoredJob | None:
        """Write the job's end if it is over and has none. Returns the job, read again, or None if it was removed."""
        if self._may_have_ended(stored):
            name = stored.job.name
            try:
                with locks.locked(self._records.path(name, files.LOCK)) as idle:
                    if idle:
                        files.end_if_over(self._records.path(name), self._clock.wall())
            except OSError as error:
                log.warning("%s may have ended, but its end cannot be written: %s; trying again later", name, error)
            return self._records.readable(name)
        return stored

    def _may_have_ended(self, stored: StoredJob) -> bool:
        """Whether a job may be over without an end, or has ended and left its working tree."""
        if stored.end:
            return self._records.has_working_tree(stored.job.name)
        return stored.begun or stored.verdict is not None or files.waited_too_long(msgspec.structs.asdict(stored.job))

    def _is_due(self, stored: StoredJob, expired: Retention) -> bool:
        return is_due(stored, self._clock.wall(), expired)

    def _remove(self, name: str, expired: Retention) -> bool:
        """Remove a job unless another process uses it. It is read again under its lock, where it cannot change."""
        try:
            with locks.locked(self._records.path(name, files.LOCK)) as idle:
                stored = self._records.read(name) if idle else None
                if stored and self._is_due(stored, expired):
                    self._listing.forget(name)
                    files.remove_job(self._directory, name)
                    return True
        except OSError as error:
            log.warning("%s could not be removed: %s; trying again later", name, error)
        return False

    def _remove_leftovers(self) -> None:
        """Remove what a crash left: incomplete jobs, and queue entries and locks without a job."""
        for leftover in files.leftovers(self._directory, LEFTOVER_AGE):
            try:
                files.remove(leftover)
            except OSError as error:
                log.warning("%s could not be removed: %s; trying again later", leftover, error)
