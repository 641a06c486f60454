"""NaN and infinity, which JSON lacks: its encoder writes null, and null stands for a key that is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from runner.config.reading import quoted
from runner.config.types import Config
from runner.errors import Problem

_MESSAGE = "must not be NaN or infinity"


def problems(document: Any) -> Iterator[Problem]:
    """Each such value of a configuration, and each such key. Those of other programs are left to them."""
    return _problems(document, "", Config)


def _problems(value: Any, at: str, kind: Any) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(at, _MESSAGE)
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    fields = _kinds(kind)
    for name, member in members:
        if isinstance(name, float) and not math.isfinite(name):
            yield Problem(at, f"has a key that {_MESSAGE}")
        if fields.get(name) is not Any:
            yield from _problems(member, f"{at}/{quoted(str(name))}", fields.get(name))


def _kinds(kind: Any) -> dict[Any, Any]:
    """The types of a section's fields, by their keys in the file."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
