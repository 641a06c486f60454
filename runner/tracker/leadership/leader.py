"""Which tracker leads: of all trackers that see the same jobs, one publishes and marks; the others wait.

A driver says where its trackers agree: in a record on its cluster (`runner.tracker.leadership.election`), by a file to
lock on this host, or nowhere. Two leaders by accident do no harm: they publish the same results under the same ids.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Protocol, TextIO

from runner.drivers.driver import LeaderStore
from runner.runtime.clock import Clock
from runner.runtime.tasks import Signal, Tasks
from runner.tracker.leadership.accepted import AcceptedResults
from runner.tracker.leadership.election import RETRY_SECONDS, ElectedLeadership

log = logging.getLogger("orchestrator.leader")


class Leadership(Protocol):
    """Whether this process leads. One task acquires and releases; any task may ask whether it is held."""

    def acquire(self, stop: Signal) -> bool:
        """Wait until this process leads (true) or until `stop` is set (false). Logs once which process leads meanwhile.

        Call it again after the leadership was lost.
        """

    def held(self) -> bool:
        """Whether it still leads. Cheap. Once false, it stays false until `acquire` returns."""

    def release(self) -> None:
        """Let another process lead: a waiting one does within two seconds."""


def leadership(
    store: LeaderStore | Path | None,
    holder: str,
    accepted: AcceptedResults,
    clock: Clock,
    random: Random,
    tasks: Tasks,
) -> Leadership:
    """The leadership for the jobs of one driver, by what its `election` returned."""
    if store is None:
        return UncontestedLeadership()
    if isinstance(store, Path):
        return LockedLeadership(store, holder)
    return ElectedLeadership(store, holder, accepted, clock, random, tasks)


def holder_name(random: Random) -> str:
    """A name for this process that no other has, and by which people find it: host, pid, and a random number."""
    return f"{socket.gethostname()}-{os.getpid()}-{random.getrandbits(32):08x}"


class LockedLeadership:
    """Held by a lock of a file on this host, which the kernel releases when the process ends (flock(2))."""

    def __init__(self, path: Path, holder: str) -> None:
        self._path = path
        self._holder = holder
        self._file: TextIO | None = None
        self._reported = ""

    def __repr__(self) -> str:
        return f"LockedLeadership({self._holder}, {self._path}, held={self.held()})"

    def acquire(self, stop: Signal) -> bool:
        """See Leadership."""
        while not stop.is_set():
            if self.held():
                return True
            try:
                locked = self._lock()
            except OSError as error:
                self._report(f"the lock {self._path} cannot be used: {error}; this process waits until it can")
                locked = False
            if not locked:
                stop.wait(RETRY_SECONDS)
        return False

    def held(self) -> bool:
        """See Leadership. A file that was deleted or replaced locks nobody out."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """See Leadership."""
        file, self._file = self._file, None
        if file is not None:
            with file, suppress(OSError):
                file.truncate(0)

    def _lock(self) -> bool:
        self.release()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._path.open("a+")  # not truncated: it has the name of the leader
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                if not isinstance(error, BlockingIOError):
                    raise
                file.seek(0)
                self._report(
                    f"{file.readline(200).strip() or 'another process'} leads by {self._path}; this process waits"
                )
            return False
        with suppress(OSError):  # a full disk: it leads without its name in the file
            file.truncate(0)
            file.write(f"{self._holder}\n")
            file.flush()
        self._file = file
        self._reported = ""
        log.info("this process leads by %s as %s", self._path, self._holder)
        return True

    def _report(self, message: str) -> None:
        """Log what has changed while waiting."""
        if message != self._reported:
            self._reported = message
            log.info("%s", message)


class UncontestedLeadership:
    """Where no other process can see the jobs."""

    def __repr__(self) -> str:
        return "UncontestedLeadership()"

    def acquire(self, stop: Signal) -> bool:
        """See Leadership."""
        return not stop.is_set()

    def held(self) -> bool:
        """See Leadership."""
        return True

    def release(self) -> None:
        """See Leadership."""
