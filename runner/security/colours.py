"""Text without the escape sequences that colour it, to find what they split: a name, a value, a token."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

_SEQUENCE = re.compile(r"(?:[\x1b\ufffd]|\\{1,4}(?:u001b|x1b|033|e))\[[0-9;?]{0,32}[A-Za-z]", re.IGNORECASE)
"""ECMA-48, "control sequence": as it is, printable, or escaped in a string."""


class Plain:
    """A text without such sequences. `text` is what is left, and `spans` gives offsets in the original."""

    def __init__(self, coloured: str) -> None:
        found = [each.span() for each in _SEQUENCE.finditer(coloured)] if "[" in coloured else []
        self.text = _SEQUENCE.sub("", coloured) if found else coloured
        removed = [0, *accumulate(end - start for start, end in found)]
        self._removed = removed
        # Where each sequence was, in the text that is left.
        self._places = [start - before for (start, _), before in zip(found, removed, strict=False)]

    def spans(self, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Offsets in the original. A span has the sequences within it, and none around it."""
        for start, end in spans:
            if start < end:
                yield self._original(start), self._original(end - 1) + 1

    def _original(self, at: int) -> int:
        return at + self._removed[bisect_right(self._places, at)]
