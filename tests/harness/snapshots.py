"""A directory's state as a value, for tests that a call changes nothing in it."""

from __future__ import annotations

import time
from pathlib import Path


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """By path: mode, time of the last change and content of the directory and everything below it."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def settled(directory: Path, seconds: float = 10.0) -> dict[str, tuple[int, int, bytes]]:
    """The snapshot once nothing below the directory changes by itself: what has ended may still be removed."""
    until, last = time.monotonic() + seconds, {}
    while time.monotonic() < until:
        try:
            found = snapshot(directory)
        except FileNotFoundError:
            found = {}
        if found and found == last:
            return found
        last = found
        time.sleep(0.05)
    raise TimeoutError(f"{directory} kept changing for {seconds:g} s")
