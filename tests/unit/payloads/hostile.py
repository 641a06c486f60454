"""The inputs that make the largest errors: for each field of each request type, what is wrong most often or longest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec

from runner.payloads.fields import RepositoryConfig
from runner.request_types import REQUEST_TYPES

LONG_KEYS = ("K", "~", "\x01", "\U0001f600")
"""What a long key is made of: a pointer escapes the second, JSON the third, and UTF-8 has four bytes of the fourth."""


def inputs(size: int, *, each_type_once: bool = False) -> Iterator[tuple[str, str, bytes]]:
    """Request type, what is wrong, and a body of about so many bytes that holds as much of it as fits.

    With `each_type_once`, fields of a type that another field has are left out.
    """
    known: set[str] = set()
    for name, row in REQUEST_TYPES.items():
        for place, kind in _fields(row.payload, ()):
            if each_type_once and repr(kind) in known:
                continue
            known.add(repr(kind))
            for what, value in _wrong(size):
                yield name, f"{'/'.join(map(str, place))}: {what}", json.dumps(_at(place, value)).encode()


Place = tuple[str | int, ...]


def _fields(kind: type[msgspec.Struct], at: Place) -> Iterator[tuple[Place, Any]]:
    """The place of each field at any depth, and its type."""
    for field in msgspec.structs.fields(kind):
        place = (*at, field.encode_name)
        yield place, field.type
        inner = _bare(RepositoryConfig if field.encode_name == "config" else field.type)
        if get_origin(inner) is tuple:
            place, inner = (*place, 0), _bare(get_args(inner)[0])
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _fields(inner, place)


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _wrong(size: int) -> Iterator[tuple[str, Any]]:
    """Wrong values. Each is wrong in many places, or in one that is long."""
    many = size // 4
    yield "a number", 5
    yield "a long text", "\x00" * (size // 6)
    yield "empty objects", [{}] * many
    yield "empty lists", [[]] * many
    yield "numbers", [1e99] * (size // 7)
    yield "nulls", [None] * (size // 6)
    for each in LONG_KEYS:
        written = len(json.dumps(each)) - 2
        key = each * (size // 2 // written)
        yield f"a key of {each!a} with many wrong values", {key: [[]] * (many // 2)}
        for length in (256, 4096):
            count = max(size // (length * written), 1)
            yield f"keys of {length} {each!a}", {f"{number}{each * (length - 8)}": [[]] for number in range(count)}
    yield "many short keys", {f"{number:x}": [[]] for number in range(size // 14)}


def _at(place: Place, value: Any) -> Any:
    """A document with this value in that place."""
    for step in reversed(place):
        value = {step: value} if isinstance(step, str) else [value]
    return value
