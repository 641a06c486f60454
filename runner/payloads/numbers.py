"""Numbers in JSON that is passed on as it is: a program that reads it may keep 64 bits of each.

Most documents have no number that could be too large, and are only searched. Others are read once more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from runner.config.reading import quoted
from runner.errors import Problem

MESSAGE = "must be a number that fits 64 bits"
_MAYBE_LARGE = re.compile(rb"[0-9](?:[0-9]{18}|[eE][+-]?[0-9]{3})")
_MAX_DIGITS = 20
"""Characters of a whole number with its sign: both -2^63 and 2^64-1 have 20."""


def problems(document: bytes, at: str) -> Iterator[Problem]:
    """Each number that is out of range: a whole one over 64 bits, or another one that no double can hold.

    `document` is valid JSON, `at` the pointer of the document itself.
    """
    if _MAYBE_LARGE.search(document):
        yield from _walk(json.loads(document, parse_int=_whole, object_pairs_hook=_Members), at)


class _Members(tuple[tuple[str, Any], ...]):
    """An object's members. A key may stand there twice, and which one a program reads is not known."""


def _whole(text: str) -> float:
    fits = len(text) <= _MAX_DIGITS and -(2**63) <= int(text) < 2**64
    return 0.0 if fits else math.inf


def _walk(value: Any, at: str) -> Iterator[Problem]:
    if isinstance(value, _Members):
        for name, each in value:
            yield from _walk(each, f"{at}/{quoted(name)}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _walk(each, f"{at}/{index}")
    elif isinstance(value, float) and math.isinf(value):
        yield Problem(at, MESSAGE)
