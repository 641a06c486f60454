"""The local driver's locks: files locked by flock(2) until the holder ends. Standard library only.

`files` lists what each lock guards.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def lock(path: str, *, make: bool = False) -> int | None:
    """Lock a file. Gives the descriptor that holds the lock, or None if the file is gone or locked by another process.

    While a job's lock is held, its directory is not removed. The directory may have been removed between open(2) and
    flock(2), so the inode is compared after locking.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
            return descriptor
    os.close(descriptor)
    return None


def is_locked(path: str) -> bool:
    """Whether another process, or another part of this one, holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that two that ask do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(path: str, *, make: bool = False) -> Iterator[bool]:
    """Hold a file's lock, if it is free. Gives whether it is held."""
    descriptor = lock(path, make=make)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
