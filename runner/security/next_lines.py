"""Finds values that stand on the lines after their names: YAML blocks, indented JSON, XML, continued shell lines; and
pairs, such as `- name: TOKEN` before `value: x1y2z3`.

A log may come line by line, so what a line opens is a value of its own: `Opening`. Offsets are (start, end).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from runner.security.names import NAME
from runner.security.placeholders import is_placeholder
from runner.security.words import has_any

_FEED = r"(?:\r?\n|(?:\\r)?(?<!\\)\\n)"
_OPEN_END = re.compile(rf"(?:[:=>\"'\\]|[|>][-+0-9]{{1,2}}|\||Lines: [0-9]{{1,4}})[ \t]{{0,8}}(?={_FEED})")
"""How a line ends that a value may follow."""

_SIGN = re.compile(
    r"(?P<several>s?)\\*[\"']?(?:[ \t]is)?[ \t]{0,8}(?:(?P<block>:[ \t]{1,8}[|>][-+0-9]{0,2})|(?P<shell>=\\)"
    r"|(?P<tag>(?:[ \t][^<>\n]{0,128})?>)"
    r"|(?:=>|:=|:|=)(?:[ \t]{0,4}(?:\"\"\"|''')?\\?))[ \t]{0,8}\Z"
)
_PUTTY = re.compile(r"Private-Lines: [0-9]{1,4}[ \t]*\Z")
_BEGIN = re.compile(r"(?P<indent>[ \t]*(?:- )?)[\"'<]?(?:[\w.]+:)?[\w.-]*\Z")
_VALUE = re.compile(
    r"[ \t]*(?P<item>- )?(?:\\*(?P<quote>[\"'])(?P<quoted>[^\"'\\]{1,512})\\*(?P=quote)"
    r"|(?P<word>[^\s\"'\\,;{}\[\]<>#|]{1,512}?)(?:\"\"\"|''')?)[ \t]*[,;]?[ \t]*(?:\\?\r?)\Z"
)
_FIRST_WORD = re.compile(r"[ \t]*[\"']?(?P<word>[^\s\"'\\;|&]+)")
_RANDOM = re.compile(r"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])(?![./~])[^\s():/]{6,}\Z")
_PUTTY_LINE = re.compile(r"[A-Za-z0-9+/=]{8,}\s*\Z")
_PAIR_NAME = re.compile(
    r"(?:[ \t]|-[ ]|\{){0,64}\\*[\"']?(?i:name|key)\\*[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\*[\"']?(?P<name>[\w.-]{1,128})"
    r"\\*[\"']?,?[ \t]{0,8}\r?\Z"
)
_PAIR_VALUE = re.compile(
    rf"{_FEED}[ \t]{{0,64}}\\*[\"']?[Vv]alue\\*[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}"
    r"(?:\\*[\"'](?P<quoted>[^\"'\n\\]{1,4096})|(?P<word>[^\s\"'\\,]{1,4096}))"
)
_BEFORE = 160
"""Characters at the end of a line in which the name is looked for."""


class Opening(msgspec.Struct, frozen=True):
    """A line that ends with a secret's name. `named` is false where it is a sentence, or the name of several."""

    kind: Literal["block", "shell", "word", "items", "putty"]
    indent: int
    named: bool


def opening(line: str) -> Opening | None:
    """What the line opens; None if its end is no secret's name."""
    if _PUTTY.search(line, max(0, len(line) - _BEFORE)):
        return Opening("putty", 0, True)
    for name in NAME.finditer(line, max(0, len(line) - _BEFORE)):
        sign = _SIGN.match(line, name.end())
        if sign is None or name["header"]:
            continue
        begin = _BEGIN.match(line[: name.start()])
        if sign["tag"] and not (begin and "<" in begin[0]):
            return None
        kind: Literal["block", "shell", "word"] = "block" if sign["block"] else "shell" if sign["shell"] else "word"
        return Opening(kind, len(begin["indent"]) if begin else 0, begin is not None and not sign["several"])
    return None


def value(opened: Opening, line: str) -> tuple[tuple[int, int] | None, Opening | None]:
    """The span of the value in the next line, if there is one; and what stays open for the line after it."""
    if opened.kind == "block":
        return _block_line(opened, line)
    if opened.kind == "putty":
        return ((0, len(line.rstrip())), opened) if _PUTTY_LINE.match(line) else (None, None)
    if opened.kind == "shell":
        found = _FIRST_WORD.match(line)
        return (found.span("word") if found and not is_placeholder(found["word"]) else None), None
    found = _VALUE.match(line)
    if found is None or (opened.kind == "items" and not found["item"]):
        return None, None
    group = "word" if found["word"] else "quoted"
    left = Opening("items", opened.indent, opened.named) if found["item"] else None
    return (found.span(group) if _is_secret(opened, found[group], line) else None), left


def spans(text: str) -> Iterator[tuple[int, int]]:
    """All values on the lines after their names, in order. Each line is read once after the line that opens it."""
    read = 0
    for end in _OPEN_END.finditer(text):
        feed = end.end()
        if feed < read:
            continue
        opened = opening(text[_line_start(text, feed) : feed])
        while opened and (begin := _after_feed(text, feed)):
            feed = _line_end(text, begin, escaped=text.startswith("\\", feed))
            found, opened = value(opened, text[begin:feed])
            if found:
                read = feed
                yield begin + found[0], begin + found[1]
    yield from _pairs(text)


def _pairs(text: str) -> Iterator[tuple[int, int]]:
    for found in _PAIR_VALUE.finditer(text) if has_any(text, ("value", "Value")) else ():
        group = "word" if found["word"] else "quoted"
        if names_a_pair(text[_line_start(text, found.start()) : found.start()]) and not is_placeholder(found[group]):
            yield found.span(group)


def names_a_pair(line: str) -> bool:
    """Whether the line gives a secret's name, and the next one may give its value."""
    pair = _PAIR_NAME.match(line)
    return pair is not None and any(name.end() == pair.end("name") for name in NAME.finditer(line, pair.start("name")))


def _block_line(opened: Opening, line: str) -> tuple[tuple[int, int] | None, Opening | None]:
    """A line of a YAML block: it is blank, or has a greater indentation than the line with the name."""
    content = line.strip()
    if not content:
        return None, opened
    indent = _indent(line)
    if indent <= opened.indent:
        return None, None
    return (indent, indent + len(content)), opened


def _is_secret(opened: Opening, word: str, line: str) -> bool:
    if is_placeholder(word) or word.endswith((":", "=")):
        return False
    indented = opened.named and _indent(line) > opened.indent
    return indented or _RANDOM.match(word) is not None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


_FEEDS = re.compile(_FEED)
_REAL_END, _ESCAPED_END = re.compile(r"[^\n]*"), re.compile(r'[^\n"\\]*')


def _line_start(text: str, at: int) -> int:
    """Where the line begins that ends at `at`, as far as it matters."""
    first = max(0, at - _BEFORE)
    line = text.rfind("\n", first, at) + 1
    escaped = text.rfind("\\n", first, at)
    quote = text.rfind('"', first, at) + 1 if text.startswith("\\", at) else 0
    return max(first, line, escaped + 2 if escaped >= 0 else 0, quote)


def _after_feed(text: str, at: int) -> int:
    """Where the line after the line feed at `at` begins; 0 if there is no line feed."""
    feed = _FEEDS.match(text, at)
    return feed.end() if feed else 0


def _line_end(text: str, at: int, *, escaped: bool) -> int:
    found = (_ESCAPED_END if escaped else _REAL_END).match(text, at)
    return found.end() if found else at


MAX_KEPT = 256
"""Characters of a continued command that are kept for its next line."""


def kept(before: str, line: str) -> str:
    """What must precede the line after `line`, so that a value in it is found. `before` is that of `line` itself."""
    if line.rstrip("\r").endswith("\\"):
        return f"{before}{line}\n"[-MAX_KEPT:]
    begin = before.partition("\n")[0]
    opened = opening(begin) if begin else None
    goes_on = f"{begin}\n" if opened and value(opened, line)[1] else ""
    return f"{goes_on}{line[-MAX_KEPT:]}\n" if opening(line) or names_a_pair(line) else goes_on
