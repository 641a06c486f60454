"""The log of a container of the local driver: bounded, and without secrets. Standard library only."""

from __future__ import annotations

import os
import re
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LOG_LIMIT, LOG_HEAD, LOG_TAIL = 16 << 20, 4 << 20, 4 << 20
"""Bytes. A log that exceeds the limit is cut down to its head and its tail. Output goes on being appended."""

LINE_LIMIT = 64 << 10
"""Bytes. A log is cut between two lines, unless a line is longer than this: half a secret would not be recognized by
whatever masks the evidence later."""

SHORTEST, SHORTEST_PART = 4, 8
"""Characters that a secret, or a line or password in a secret, must have to be masked in logs. Masking shorter ones
would hide much of the log, and the gaps would reveal the secret."""

_MASK = b"***"


class ContainerLog:
    """A file for a program's output. Its size is bounded, and secrets are masked."""

    def __init__(self, path: str, secrets: Iterable[str]) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0
        self._received = 0
        self._head = 0
        self._secrets = secret_patterns(secrets)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)) or rb"(?!)")
        self._held_back = b""

    def write(self, data: bytes) -> None:
        """Append output. Bytes that may be the beginning of a secret are held back until the following bytes come."""
        data = self._held_back + data
        undecided = self._undecided(data)
        parts, start = [], 0
        for match in self._pattern.finditer(data):
            if match.start() >= undecided:
                break
            parts += [data[start : match.start()], _MASK]
            start = match.end()
        self._held_back = data[max(start, undecided) :]
        self._put(b"".join([*parts, data[start:undecided]]))

    def close(self) -> None:
        """Write the bytes that were held back, and close the file."""
        self._put(self._pattern.sub(_MASK, self._held_back))
        os.close(self._file)

    def _undecided(self, data: bytes) -> int:
        """The offset from which `data` may be the first part of a secret; the length of `data` if it is none."""
        first = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(0, len(data) - len(secret) + 1), first)
            while at >= 0 and not secret.startswith(data[at:]):
                at = data.find(secret[:1], at + 1, first)
            first = at if at >= 0 else first
        return first

    def _put(self, data: bytes) -> None:
        with suppress(OSError):  # if the disk is full, the job continues without its log
            written = os.write(self._file, data)
            self._size += written
            self._received += written
            if self._size > LOG_LIMIT:
                self._shorten()

    def _shorten(self) -> None:
        if not self._head:
            end = os.pread(self._file, min(LINE_LIMIT, LOG_HEAD), max(0, LOG_HEAD - LINE_LIMIT))
            self._head = LOG_HEAD - len(end) + (end.rfind(b"\n") + 1 or len(end))
        tail = os.pread(self._file, LOG_TAIL, self._size - LOG_TAIL)
        tail = tail[tail.find(b"\n", 0, LINE_LIMIT) + 1 :]
        note = b"\n[%d bytes were left out here]\n" % (self._received - self._head - len(tail))
        os.ftruncate(self._file, self._head)
        self._size = self._head + os.write(self._file, note + tail)


def secret_patterns(secrets: Iterable[str]) -> list[bytes]:
    """The byte strings to mask: the secrets, their lines, and logins and passwords in URLs. The longest comes first."""
    found = set()
    for secret in secrets:
        login = re.match(r"[a-z+]+://((?:[^/@\s]*:)?([^/@\s]+))@", secret)
        parts = [*secret.split("\n"), *(login.groups() if login else ())]
        found |= {part.strip() for part in parts if len(part.strip()) >= SHORTEST_PART}
        found |= {secret.strip()} if len(secret.strip()) >= SHORTEST else set()
    return sorted((text.encode() for text in found), key=len, reverse=True)
