"""How far a log was read that is addressed by offsets, and that may lose its beginning while it grows."""

from __future__ import annotations

from collections.abc import Callable

OVERLAP = 4096
"""Bytes that are read twice. If they are not there any more, the beginning of the log was removed."""

LOST = b"[output was removed here before it was read]\n"


class LogOffset:
    """Reads each byte once. After the log has lost its beginning, continues where the last bytes read are found.

    A log that repeats itself for OVERLAP bytes may then be continued at a later repetition.
    """

    def __init__(self) -> None:
        self._at = 0
        self._last = b""

    def __repr__(self) -> str:
        return f"LogOffset({self._at})"

    def new(self, read_from: Callable[[int], bytes]) -> bytes:
        """What is new in the log. `read_from` gives the log from an offset on."""
        data = read_from(self._at - len(self._last))
        if data.startswith(self._last):
            fresh = data[len(self._last) :]
            self._at += len(fresh)
        else:
            fresh = self._found_again(read_from(0))
        self._last = (self._last + fresh.removeprefix(LOST))[-OVERLAP:]
        return fresh

    def _found_again(self, text: bytes) -> bytes:
        """What follows the bytes that were read last; if they have been removed too, a note and all of the log."""
        if not text:  # it cannot be read now
            return b""
        _, found, after = text.rpartition(self._last)
        self._at = len(text)
        self._last = self._last if found else b""
        return after if found else LOST + text
