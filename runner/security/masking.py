"""Masks everything that looks like a credential: in logs, errors, results, jobs' logs and the command line's output.

This is the second protection. The first is that no code logs or prints a secret. It is the one module for this: what
to look for is in `credentials` and `private_keys`, which only this module imports.

Mask first, then cut. Half a secret is not recognized.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runner.security import credentials, private_keys

MASK = "***"

KEY_LINES = 200
"""How many lines more than are shown must be read of a log: a key is recognized by its first lines."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def mask(text: str) -> str:
    """`text` without anything that looks like a credential: each becomes `***`. Takes time linear in its length.

    A line of JSON stays a line of JSON. Commit ids, digests, UUIDs and paths stay.
    """
    text = _without(text, private_keys.spans(text))
    return _without(text, sorted(credentials.spans(text)))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` with a mask in place of these spans, which are in order and may overlap."""
    parts: list[str] = []
    at = -1
    for start, end in spans:
        if start > at:
            parts += [text[max(at, 0) : start], MASK]
        at = max(at, end)
    return "".join([*parts, text[at:]]) if parts else text


def printable(text: str) -> str:
    r"""`text` with U+FFFD for what databases and terminals do not take, and \n for \r\n.

    Replaced are control characters, except \n and \t, marks that reverse the direction of text, and surrogates, which
    UTF-8 cannot encode.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def shown(text: str) -> str:
    """`text` for a person or for atlas: printable and masked."""
    return mask(printable(text))


def last_lines(raw: str, lines: int) -> str:
    """The last lines of a log, masked before they are cut. Pass KEY_LINES more than are to be kept."""
    kept = mask(raw).split("\n")
    ends = kept[-1] == ""  # the line feed that ends the last line begins no other
    return "\n".join(kept[max(0, len(kept) - lines - ends) :]) if lines > 0 else ""


def evidence_tail(raw: str, lines: int, limit: int) -> str:
    """The last lines of a log, printable and masked: at most `lines` of them, with at most `limit` characters.

    Pass all that was read, not only the lines to keep: a secret may begin before them. It is masked before it is cut.
    Whole lines are left out, from the front; of a last line that is over the limit by itself, the end is kept.
    """
    kept = shown(raw).rstrip("\n").split("\n")[-lines:]
    size = len(kept[-1])
    first = len(kept) - 1
    while first and size + 1 + len(kept[first - 1]) <= limit:
        first -= 1
        size += 1 + len(kept[first])
    return "\n".join(kept[first:])[-limit:]
