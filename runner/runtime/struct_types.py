"""Struct types, made safe for threads."""

from __future__ import annotations

from contextlib import suppress

import msgspec


def learn_struct_types() -> None:
    """Have msgspec learn every struct type that is defined by now, while there is one thread only.

    msgspec (0.22) learns a type when it is first decoded, and two threads that do so at the same time crash the
    process: one of them finds the type half learnt. A worker that is new and at once under load dies of it, with all
    the requests in its hands. `tests/faults/test_first_use.py` shows the crash.
    """
    kinds: list[type[msgspec.Struct]] = [msgspec.Struct]
    for kind in kinds:  # grows on the way
        kinds.extend(kind.__subclasses__())
    for kind in kinds[1:]:
        with suppress(TypeError, NameError):  # one that cannot be decoded is none that threads decode
            msgspec.json.Decoder(kind)
