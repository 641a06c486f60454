"""At most one tracker is active on a host: the others wait for the lock."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RETRY_SECONDS = 1.0
"""Seconds between two attempts to lock."""


@contextmanager
def only_one(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock of the file `path`. Waits while another process holds it, but no longer once `stop` is set.

    The kernel releases the lock when its holder ends, for any reason (flock(2)).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(RETRY_SECONDS)
        yield
