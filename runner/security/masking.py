"""Masks everything that looks like a credential: in logs, errors, results, jobs' logs and the command line's output.

This is the second protection. The first is that no code logs or prints a secret. It is the one module for this: what
to look for is in `credentials` and `private_keys` and in what these import.

Mask first, then cut. Half a secret is not recognized.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runner.security import credentials, next_lines, private_keys
from runner.security.colours import Plain

MASK = "***"

KEY_LINES = 200
"""How many lines more than are shown must be read of a log: a key is recognized by its first lines."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def mask(text: str) -> str:
    """`text` without anything that looks like a credential: each becomes `***`. Takes time linear in its length.

    A line of JSON stays a line of JSON. Commit ids, digests, UUIDs and paths stay.
    """
    return _mask_after("", text)


def _mask_after(before: str, text: str) -> str:
    """`text` masked. `before` is what precedes it, whole lines, which may say what a value in it is."""
    text = _without(text, private_keys.spans(text))
    plain = Plain(before + text)
    spans = (_without_half_an_escape(plain.text, start, end) for start, end in credentials.spans(plain.text))
    found = sorted(plain.spans(spans))
    if before:
        at = len(before)
        found = [(max(start - at, 0), end - at) for start, end in found if end > at]
    return _without(text, found)


def _without_half_an_escape(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without backslashes at its end that escape a double quote after it: of JSON inside JSON."""
    if text.startswith('"', end):
        while end > start and text[end - 1] == "\\":
            end -= 1
    return start, end


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


HELD_LINES = 3
"""How many lines of base64 are long enough together to distinguish a key from checksums: LONG_RUN in `private_keys`."""


class LogMasker:
    """Masks a log that goes on, line by line.

    Nothing that `mask` finds in the whole text passes, but for one case: of a key whose BEGIN is not in the log, lines
    with a prefix. A line is passed on at once, unless it may begin a key. Then it is held until the next line, or
    `idle`, shows whether it does.
    """

    def __init__(self) -> None:
        self._block = 0  # lines of the key whose BEGIN was seen, and its END not yet
        self._held: list[str] = []
        self._in_key = False  # the line before was of a key without BEGIN
        self._before = ""  # the lines before, where they say what a value in the next one is

    def __repr__(self) -> str:
        return f"LogMasker(block={self._block}, held={len(self._held)})"

    def feed(self, line: str) -> str:
        """What to show after one more line, which has no line feed: nothing, a part of a line, or whole lines."""
        if self._block:
            return self._inside(line)
        if private_keys.is_body(line):
            return self._body(line)
        shown_first = self._released(key=private_keys.end_of(line) is not None)
        self._in_key = False
        begin = private_keys.unended(line)
        if begin is None:
            return f"{shown_first}{self._masked(line)}\n"
        self._block = 1
        return f"{shown_first}{self._masked(line[:begin])}{MASK}"  # its line feed follows the END

    def idle(self) -> str:
        """What to show if no line comes for a while: what is held, as it is if nothing follows."""
        return self._released(key=False)

    def close(self) -> str:
        """What to show after the last line."""
        return self._released(key=False) + ("\n" if self._block else "")

    def _inside(self, line: str) -> str:
        """A line of a key. One without an END ends after KEY_LINES: then it was no key."""
        end = private_keys.end_of(line)
        if end is not None:
            self._block = 0
            return self.feed(line[end:])
        if self._block < KEY_LINES:
            self._block += 1
            return ""
        self._block = 0
        return f"\n{self.feed(line)}"

    def _body(self, line: str) -> str:
        if self._in_key:
            return ""
        if not self._held and not private_keys.is_long(line):
            return f"{self._masked(line)}\n"
        self._held.append(line)
        if private_keys.are_key(self._held):
            self._held, self._in_key = [], True
            return f"{MASK}\n"
        return f"{self._masked(self._held.pop(0))}\n" if len(self._held) > HELD_LINES else ""

    def _released(self, *, key: bool) -> str:
        held, self._held = self._held, []
        if held and key:
            return f"{MASK}\n"
        return "".join(f"{self._masked(line)}\n" for line in held)

    def _masked(self, line: str) -> str:
        """A line of no key."""
        masked = _mask_after(self._before, line)
        self._before = next_lines.kept(self._before, Plain(line).text)
        return masked
