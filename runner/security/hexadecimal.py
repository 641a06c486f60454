"""Finds private keys in hexadecimal: as one run, in lines, as a hex dump, and as openssl prints numbers.

As in `credentials`, each function gives offsets (start, end), and the time is linear. Digests, fingerprints and commit
ids stay: they are shorter, or lines of another width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

LONG_HEX_RUN = 192
"""Digits within a line that are masked (`shapes.long_base64`). A SHA-512 has 128, a public key of P-256 130."""

RUN = re.compile(
    # What precedes may be an escape of JSON, of which no half may be masked.
    rf"(?:(?<![0-9A-Fa-f\\])(?<!\\u)|(?<=\\[bf])|(?<=\\u[0-9A-Fa-f]{{4}}))[0-9A-Fa-f]{{{LONG_HEX_RUN},}}"
)
_LINE = re.compile(r"[0-9A-Fa-f]{40,}")
_KEY = re.compile(
    r"50524956415445204b4559|2d2d2d2d2d424547494e"  # PRIVATE KEY, -----BEGIN
    # DER: a sequence that begins with a version, as PKCS #1, PKCS #8 (RFC 5958) and SEC 1 have it.
    r"|\A30(?:82[0-9a-f]{4}|81[0-9a-f]{2}|[2-7][0-9a-f])02010[01](?:30|02|04)",
    re.IGNORECASE,
)
XXD_WIDTH, XXD_LINES = 60, 3
"""Digits of a line of `xxd -p`, and after how many such lines it is a key. No digest has so many."""

_DUMP = re.compile(
    r"^[ \t]{0,8}[0-9a-fA-F]{6,8}:?[ \t]{1,3}(?P<bytes>(?:[0-9a-fA-F]{2}){1,2}"
    r"(?:[ \t]{1,3}(?:[0-9a-fA-F]{2}){1,2}){3,15})"
    r"(?:[ \t]{1,64}[^\n\"]{0,24})?$",
    re.MULTILINE,
)
_ASCII = re.compile(rb"[A-Za-z0-9+/=\n-]+")
_NUMBER = re.compile(r"^[ \t]*(?:[0-9a-f]{2}:){15}$", re.MULTILINE)
"""A line of a number as `openssl rsa -text` prints it. A fingerprint has 16, 20 or 32 bytes and no colon at its end."""


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Keys within a line, in no order."""
    for dump in _DUMP.finditer(text):
        if _is_pem(dump["bytes"]):
            yield dump.start("bytes"), dump.end()
    yield from (number.span() for number in _NUMBER.finditer(text))


def are_key(lines: Sequence[str]) -> bool:
    """Whether these lines of digits, one after the other, are of a key."""
    if not all(map(_LINE.fullmatch, lines)):
        return False
    return any(map(_KEY.search, lines)) or (len(lines) >= XXD_LINES and {*map(len, lines)} == {XXD_WIDTH})


def _is_pem(dumped: str) -> bool:
    """Whether these bytes are of a key in PEM: nothing but base64 of both cases, and line feeds."""
    with suppress(ValueError):
        content = bytes.fromhex(dumped)
        return _ASCII.fullmatch(content) is not None and content != content.lower() != content.upper()
    return False
