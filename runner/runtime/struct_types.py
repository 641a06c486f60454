"""Preparation of struct types for use in several threads."""

from __future__ import annotations

from contextlib import suppress

import msgspec


def learn_struct_types() -> None:
    """Have msgspec prepare every struct type that is defined by now. Call this while there is one thread only.

    msgspec (0.22) prepares a type when a decoder for it is first made. If two threads do so at the same time, one uses
    a type that is only half prepared, and the process crashes with all its requests in flight. That happens to a new
    worker that gets many requests at once. `tests/faults/test_first_use.py` shows the crash.
    """
    kinds: list[type[msgspec.Struct]] = [msgspec.Struct]
    for kind in kinds:  # the list grows meanwhile
        kinds.extend(kind.__subclasses__())
    for kind in kinds[1:]:
        with suppress(TypeError, NameError):  # a type that has no decoder is never decoded
            msgspec.json.Decoder(kind)
