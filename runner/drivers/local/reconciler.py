"""What the tracker has the local driver do: end jobs whose shim died, restart jobs that wait, remove old ones."""

from __future__ import annotations

import logging
import os

import msgspec

from runner.drivers.driver import Retention
from runner.drivers.local import files, locks
from runner.drivers.local.record import Entry, Records, is_due
from runner.drivers.local.shims import Shims
from runner.runtime.clock import Clock

log = logging.getLogger("orchestrator.local")

LEFTOVER_AGE = 600
"""Seconds after which a half-made job counts as left by a crash. Making one takes milliseconds; a process that comes
back after all fails, and its request is repeated."""


class Reconciler:
    """The jobs of one directory. Any number of processes may run it at once: every step is taken under a lock."""

    def __init__(self, directory: str, records: Records, shims: Shims, clock: Clock) -> None:
        self._directory = directory
        self._records = records
        self._shims = shims
        self._clock = clock

    def run(self, expired: Retention | None) -> int:
        """See Driver.reconcile."""
        names = self._records.names()
        entries = [entry for name in names if (entry := self._ended_if_over(name))]
        self._shims.restart([entry.job for entry in entries if entry.phase == "waiting"])
        if expired is None or not os.path.isdir(self._directory):
            return 0
        self._remove_leftovers()
        return sum(self._remove(entry.job.name, expired) for entry in entries if self._is_due(entry, expired))

    def _ended_if_over(self, name: str) -> Entry | None:
        """The job, once its end has been written if nobody has written it. None for a directory that is no job."""
        entry = self._records.readable(name)
        if entry and self._may_be_over(entry):
            try:
                with locks.locked(self._records.path(name, files.LOCK)) as idle:
                    if idle:
                        files.end_if_over(self._records.path(name), self._clock.wall())
            except OSError as error:
                log.warning("%s may have ended, but its end cannot be written: %s", name, error)
            entry = self._records.readable(name)
        return entry

    def _may_be_over(self, entry: Entry) -> bool:
        """Whether a job may have ended, or left files behind at its end. The shims see to those that only wait."""
        if entry.end:
            return self._records.has_working_tree(entry.job.name)
        return entry.begun or entry.verdict is not None or files.expired(msgspec.structs.asdict(entry.job))

    def _is_due(self, entry: Entry, expired: Retention) -> bool:
        return is_due(entry, self._clock.wall(), expired.reported, expired.orphaned)

    def _remove(self, name: str, expired: Retention) -> bool:
        """Remove a job unless another process uses it. It is read again once it cannot change any more."""
        try:
            with locks.locked(self._records.path(name, files.LOCK)) as idle:
                entry = self._records.read(name) if idle else None
                if entry and self._is_due(entry, expired):
                    files.discard(self._directory, name)
                    return True
        except OSError as error:
            log.warning("%s could not be removed: %s", name, error)
        return False

    def _remove_leftovers(self) -> None:
        """Remove what a crash left: jobs half made or half removed, entries and locks of jobs that never came."""
        for leftover in files.leftovers(self._directory, LEFTOVER_AGE):
            try:
                files.remove(leftover)
            except OSError as error:
                log.warning("%s could not be removed: %s", leftover, error)
