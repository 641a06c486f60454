"""Finds private keys in text: PEM, OpenSSH and PGP blocks, and parts of one whose first or last lines are out of sight.

A log is read from its end, so a key may begin before the text does. Then its lines are recognized by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from runner.security import hexadecimal
from runner.security.shapes import scrambled

_SPACE = r"(?: |\+|%20)"  # as it is, and in a URL or a form
_MARKER_END = rf'{_SPACE}[^-\n"]{{0,64}}PRIVATE{_SPACE}KEY(?:{_SPACE}BLOCK)?{_SPACE}?-{{4,5}}'
_MARKER = re.compile(rf"-{{4,5}}{_SPACE}?(BEGIN|END){_MARKER_END}")
_END = re.compile(rf"-{{4,5}}{_SPACE}?END{_MARKER_END}")

LONG_LINE, KEY_LINE, LONG_RUN = 40, 60, 96
"""Characters of base64: of a long line; of one that is masked alone; of the long lines of a run together, before it is
masked. A PEM line has 64, an OpenSSH line 70."""

_BODY = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\\ufffd"
"""Base64, the backslash of an escaped line feed, and what replaces a control character."""
_PURE = re.compile(r"[A-Za-z0-9+/=\\\ufffd]+")
_LONG = re.compile(rf"[A-Za-z0-9+/\\]{{{LONG_LINE}}}")
_LAST_WORD = re.compile(r"(?:^|\s)(?=\S*[A-Z0-9+/=])[A-Za-z0-9+/=\\]+$")
_COLOUR = re.compile("[\ufffd\x1b]\\[[0-9;]*[A-Za-z]")
_AROUND = " \t\r\ufffd\"',"


class _Line(NamedTuple):
    """A line and its offsets. `content` is without indentation, quotes, commas and colours."""

    start: int
    end: int
    content: str

    @property
    def pure(self) -> bool:
        """Whether it has only characters of a key's body."""
        return _PURE.fullmatch(self.content) is not None


def spans(text: str) -> list[tuple[int, int]]:
    """The offsets (start, end) of everything in `text` that is or may be part of a private key, in order.

    Where the text is one line of JSON, no span contains a double quote or half an escape.
    """
    marked = _marked(text) if "PRIVATE" in text else ()
    unmarked = _unmarked(text) if _LONG.search(text) or _COLOUR.search(text) else ()  # a colour may divide a line
    return _merged(text, sorted([*marked, *unmarked]))


def unended(line: str) -> int | None:
    """The offset of the BEGIN in `line` whose END is not in it. None if there is none."""
    begin: int | None = None
    for marker in _MARKER.finditer(line):
        if marker[1] == "END":
            begin = None
        elif begin is None:
            begin = marker.start()
    return begin


def end_of(line: str) -> int | None:
    """The offset after the first END in `line`. None if there is none."""
    found = _END.search(line)
    return found.end() if found else None


def is_body(line: str) -> bool:
    """Whether the line has only characters of a key's body: it may be a line of a key, or a word."""
    return any(each.pure for each in _lines(line, 0, len(line)))


def is_long(line: str) -> bool:
    """Whether a key may begin with this line of a body."""
    return _LONG.search(line) is not None


def are_key(lines: Iterable[str]) -> bool:
    """Whether these lines of a body, one after the other, are of a key."""
    contents = (each.content for line in lines for each in _lines(line, 0, len(line)))
    return _random([each for each in contents if is_long(each)])


def _marked(text: str) -> Iterator[tuple[int, int]]:
    """Blocks, to their END or the end of the text; and what precedes an END whose BEGIN is out of sight."""
    at, last_line = 0, text.rfind("\n") + 1
    for marker in _MARKER.finditer(text):
        if marker.start() < at:
            continue
        if marker[1] == "BEGIN":
            at = _block_end(text, marker.end(), marker.start() >= last_line)
            yield marker.start(), at
        else:
            yield from _before_end(text, at, marker.start())
            at = marker.end()
            yield marker.start(), at


def _block_end(text: str, start: int, last_line: bool) -> int:
    """Where the block ends whose BEGIN ends at `start`. In the last line, a double quote ends it too: that of JSON."""
    quote = text.find('"', start) if last_line else -1
    stop = len(text) if quote < 0 else quote
    end = _END.search(text, start, stop)
    if end or quote < 0:
        return end.end() if end else stop
    return start + len(text[start:quote].rstrip("\\"))


def _before_end(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The lines of a key in text[start:end], which an END follows.

    They are the run of lines that the END follows, even if it is short; every other run with a long line; lines with a
    prefix (a time, say) and a long word; and the last two lines if their last word has more than lower-case letters.
    """
    line = max(text.rfind("\n", start, end) + 1, start)
    yield line + len(text[line:end].rstrip(_BODY + " \t")), end
    lines = list(_lines(text, start, line))
    last = len(lines) - 1
    for pure, group in groupby(enumerate(lines), lambda item: item[1].pure):
        run = list(group)
        if pure and (run[-1][0] == last or any(_LONG.search(each.content) for _, each in run)):
            yield run[0][1].start, run[-1][1].end
        elif not pure:
            for at, each in run:
                if _LONG.search(each.content) or (at >= last - 1 and _LAST_WORD.search(each.content)):
                    yield each.start, each.end


def _unmarked(text: str) -> Iterator[tuple[int, int]]:
    """Runs of lines that look like a key's, of which neither BEGIN nor END is in sight.

    A run is of lines with nothing but base64. It is masked if its long lines look random and are long enough. These
    remain: checksums, paths and names in camelCase, and every line with a space, colon, dot, dash or underscore, as
    most lines of logs have.
    What is masked though it is no secret: a certificate, or a file that was printed in base64. Nobody reads those.
    """
    for pure, run in groupby(_lines(text, 0, len(text)), lambda line: line.pure):
        lines = list(run)
        if pure and _random([each.content for each in lines if _LONG.search(each.content)]):
            yield lines[0].start, lines[-1].end


def _random(lines: list[str]) -> bool:
    """Whether these lines are long enough and mixed enough for base64 of random bytes, or a key in hexadecimal."""
    if hexadecimal.are_key(lines):
        return True
    body = "".join(lines)
    return (len(body) >= LONG_RUN or any(len(line) >= KEY_LINE for line in lines)) and scrambled(body)


def _lines(text: str, start: int, end: int) -> Iterator[_Line]:
    """The lines of text[start:end]; the line feed that ends the last one begins no other."""
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield _Line(start, stop, _COLOUR.sub("", text[start:stop]).strip(_AROUND))
        start = stop + 1


def _merged(text: str, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without overlaps. Spans with only white space between them become one."""
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and (start <= merged[-1][1] or text[merged[-1][1] : start].isspace()):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged
