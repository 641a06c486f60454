"""The local driver's locks: files that flock(2) locks, for as long as their holder lives. Standard library only.

What each lock guards is said where the files are (`files`).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def lock(path: str, *, make: bool = False) -> int | None:
    """The descriptor of a file that is now locked by it, or None where it is gone or somebody else has it.

    While a job's lock is held its directory stays. A lock that was waited for may be that of a directory which has
    been removed since, hence the second look.
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


@contextmanager
def locked(path: str, *, make: bool = False) -> Iterator[bool]:
    """Hold a file's lock, if it can be had."""
    descriptor = lock(path, make=make)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
