"""Structs that read null as an absent field, for the objects of a cluster's API.

A program in Go writes null for an empty list, map or pointer, and other programs that answer for a cluster write it
for any field that they have no value for.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

_T = TypeVar("_T")

if TYPE_CHECKING:
    from typing import Annotated

    Nullable = Annotated[_T, "may be null in JSON"]
else:
    Nullable = _T | None
"""The type of a field that has its default if it is null. Its value is never None."""


class NullIsAbsent(msgspec.Struct, frozen=True):
    """Base of structs with fields of the type `Nullable`."""

    def __post_init__(self) -> None:
        """Called by msgspec after it has decoded an object, so it has to be fast: most objects have no null."""
        values, defaults = _defaults(type(self))
        if None in values(self):
            for name, default in defaults.items():
                if getattr(self, name) is None:
                    msgspec.structs.force_setattr(self, name, default())


@functools.cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, Callable[[], Any]]]:
    """What returns the fields whose default is not None, and what makes their defaults."""
    fields = [each for each in msgspec.structs.fields(kind) if each.default is not None and not each.required]
    defaults = {each.name: _default(each) for each in fields}
    return operator.attrgetter(*defaults, "__class__", "__class__"), defaults  # of two or more, so a tuple


def _default(field: msgspec.structs.FieldInfo) -> Callable[[], Any]:
    return (lambda: field.default) if field.default is not msgspec.NODEFAULT else field.default_factory
