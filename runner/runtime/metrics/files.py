"""The directory that processes record their metrics in, and each process's part of it.

A process takes a number: the lowest one whose lock file it can lock (fcntl(2)). The kernel frees the lock when the
process ends, however it does. The next process takes the number over, and goes on from the counters in its files. So
counters never go back, the number of files is bounded by the processes that ran at the same time, and nobody has to be
notified of a death. Numbers are unique across the containers of a pod, where process ids are not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory. prometheus_client reads it as well."""

MOST_PROCESSES = 4096


def beside(socket: str) -> Path:
    """The directory of the processes around the sidecar that listens at `socket`."""
    return Path(f"{socket}.metrics")


def prepare(directory: Path) -> None:
    """Create the directory. Where no process records, remove what an earlier start has left. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(_taken(directory, number) for number in _numbers(directory)):
        for path in directory.glob("*.db"):
            path.unlink(missing_ok=True)


def remove(directory: Path) -> None:
    """Remove the directory, so that processes started from now on record nothing."""
    shutil.rmtree(directory, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Remove the values that end with their process, of every process that has ended."""
    for number in _numbers(directory):
        with _locked(directory, number) as lock:
            if lock is not None:
                _remove_live(directory, number)


class RecordingProcess:
    """This process's number, which is another one after a fork."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = 0
        self._number = ""

    def __repr__(self) -> str:
        return f"RecordingProcess({self._directory}, {self._number or 'none'})"

    def number(self) -> str:
        """The number. Raises OSError if the directory cannot be written."""
        if os.getpid() != self._pid:
            self._number, self._pid = self._take(), os.getpid()
        return self._number

    def _take(self) -> str:
        for number in range(MOST_PROCESSES):
            lock = _lock(self._directory, number)
            if lock is not None:  # kept open until this process ends
                _remove_live(self._directory, number)
                return str(number)
        raise OSError(f"{MOST_PROCESSES} processes record metrics in {self._directory}")


def _numbers(directory: Path) -> Iterator[int]:
    for path in directory.glob("*.lock"):
        if path.stem.isdecimal():
            yield int(path.stem)


def _taken(directory: Path, number: int) -> bool:
    with _locked(directory, number) as lock:
        return lock is None


@contextmanager
def _locked(directory: Path, number: int) -> Iterator[int | None]:
    lock = _lock(directory, number)
    try:
        yield lock
    finally:
        if lock is not None:
            os.close(lock)


def _lock(directory: Path, number: int) -> int | None:
    """The descriptor of the locked file; None if another process has locked it."""
    descriptor = os.open(directory / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except PermissionError:  # EACCES, which POSIX allows for the same
        os.close(descriptor)
        return None
    return descriptor


def _remove_live(directory: Path, number: int) -> None:
    for path in directory.glob(f"gauge_live*_{number}.db"):
        path.unlink(missing_ok=True)
