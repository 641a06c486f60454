"""Mutations of requests that know their structure: of values in a document, of its text, and of bytes on the wire.

Each takes a `random.Random` and nothing else from outside, so that a seed makes the same inputs again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 1.5, 1e308, -0.0,
    "", " ", "0", "-1", "a", "A" * 65, "A" * 1025, "A" * 70000, "a\n", "a\x00b", "\u202e", "\x9b", "\ufeff", "😀",
    "../../etc/passwd", "-rf", "--upload-pack=id", "$(id)", "`id`", "${x}", "{{ x }}", "$(RESULT_HTTP_TOKEN)", "%s%n",
    "ext::sh -c id", "file:///etc/passwd", "http://169.254.169.254/a", "http://[::ffff:a9fe:a9fe]/a", "git@h:a",
    "https://u:p@h:65536/a", "https://h/" + "a" * 9000, [], {}, [None], [[]], {"": ""}, {"a": None},
)  # fmt: skip
RAW = (
    "1e999", "-1e-999", "01", "+1", ".5", "NaN", "Infinity", "'a'", "undefined", "nul", "\\", '"', '"\\ud800"', '"\\x"',
    "[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70, "1" * 5000, '"a" : "b"', "]", "}", ",", "/**/1", "1,", "",
)  # fmt: skip
"""Text in the place of a value. Not all of it is JSON."""

CHARACTERS = "\0\t\n\r\x1b \"$'/\\`\x7f\x9b\u202e"
CHUNKS = (
    b"\x00",
    b"\xff",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"{}",
    b"0\r\n\r\n",
    b"\x80" * 9,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in a document, the document itself left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*at, name)
        yield from places(child, (*at, name))


def document(random: Random, base: dict[str, Any]) -> dict[str, Any]:
    """The request with one to four values replaced, removed, repeated, moved or added."""
    changed = copy.deepcopy(base)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        ways = list(places(changed))
        if ways:
            random.choice(_CHANGES)(random, changed, random.choice(ways))
    return changed


def text(random: Random, base: dict[str, Any]) -> bytes:
    """The changed request's JSON; sometimes with text that may be no JSON in it, or with bytes changed."""
    changed = document(random, base)
    mark = json.dumps("\ue000mark\ue000", ensure_ascii=False).encode()
    kind = random.random()
    if kind < 0.2 and changed:
        way = random.choice(list(places(changed)))
        _parent(changed, way)[way[-1]] = json.loads(mark)
    encoded = json.dumps(changed, ensure_ascii=0.2 <= kind < 0.6).encode("utf-8", "surrogatepass")
    if kind > 0.85:
        return octets(random, encoded)
    return encoded.replace(mark, random.choice(RAW).encode())


def octets(random: Random, data: bytes) -> bytes:
    """The bytes with one to four pieces flipped, cut, inserted, repeated or exchanged."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        size = random.choice((1, 1, 2, 8, 64))
        kind = random.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del changed[at : at + size]
        elif kind == 2:
            changed[at:at] = random.choice(CHUNKS)
        elif kind == 3:
            changed[at:at] = changed[at : at + size] * random.choice((1, 2, 100))
        else:
            changed[at:at] = random.randbytes(size)
    return bytes(changed)


def _parent(value: Any, way: tuple[Any, ...]) -> Any:
    for name in way[:-1]:
        value = value[name]
    return value


def _replace(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    _parent(value, way)[way[-1]] = copy.deepcopy(random.choice(VALUES))


def _remove(_random: Random, value: Any, way: tuple[Any, ...]) -> None:
    del _parent(value, way)[way[-1]]


def _repeat(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    """A list's items many times over, a string's characters many times over; an object's key many times."""
    parent = _parent(value, way)
    old, times = parent[way[-1]], random.choice((2, 100, 1000))
    if isinstance(old, str | list) and len(json.dumps(old)) * times < 1_000_000:
        parent[way[-1]] = old * times
    elif isinstance(parent, dict):
        parent |= {f"{way[-1]}{number}": old for number in range(min(times, 100))}


def _move(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    """A copy of one value in the place of another."""
    source = random.choice(list(places(value)))
    _parent(value, way)[way[-1]] = copy.deepcopy(_parent(value, source)[source[-1]])


def _rename(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    parent = _parent(value, way)
    if isinstance(parent, dict):
        name = random.choice(("", "a" * 300, "~1/~0", "\x1b[2J", "\u202e", way[-1].upper(), "__proto__", "k" * 5000))
        parent[name] = parent.pop(way[-1])


def _nest(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    parent = _parent(value, way)
    for _ in range(random.choice((1, 5, 60, 70))):
        parent[way[-1]] = [parent[way[-1]]] if random.random() < 0.5 else {"a": parent[way[-1]]}


def _character(random: Random, value: Any, way: tuple[Any, ...]) -> None:
    """One character more in a string."""
    parent = _parent(value, way)
    if isinstance(old := parent[way[-1]], str):
        at = random.randrange(len(old) + 1)
        parent[way[-1]] = old[:at] + random.choice(CHARACTERS) + old[at:]


Change = Callable[[Random, Any, tuple[Any, ...]], None]
_CHANGES: tuple[Change, ...] = (_replace, _replace, _remove, _repeat, _move, _rename, _nest, _character)
