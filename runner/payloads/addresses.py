"""The URLs of a request that a job will fetch from. They are found by their types, so that no field can be forgotten.

A field counts if its type is Url or RemoteUrl, at any depth of structs, lists and mappings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

from runner.errors import Problem
from runner.payloads import remotes
from runner.payloads.fields import RemoteUrl, Repository, Url


class _Field(NamedTuple):
    """A field that is, or leads to, a URL."""

    name: str
    encoded: str
    kind: Any


def problems(request: msgspec.Struct, *, allow_file: bool) -> Iterator[Problem]:
    """One for each URL of the request that is not fetched from. Fields that could not be read are None here."""
    yield from _in_struct(request, "", allow_file)


def fields(kind: type[msgspec.Struct], at: str = "") -> Iterator[str]:
    """The places of all URLs in a type: JSON pointers with `*` for an index or a key."""
    for field in _fields(kind):
        place, inner = f"{at}/{field.encoded}", field.kind
        while not _is_url(inner) and not _is_struct(inner):
            place, inner = f"{place}/*", _item(inner)
        yield from (place,) if _is_url(inner) else fields(inner, place)


def _in_struct(part: msgspec.Struct, at: str, allow_file: bool) -> Iterator[Problem]:
    for field in _fields(type(part)):
        value = getattr(part, field.name)
        place = f"{at}/{field.encoded}"
        if field.kind == RemoteUrl and value is not None:
            only_ssh = isinstance(part, Repository) and part.only_ssh
            yield from _problem(place, remotes.objection(value, allow_file=allow_file, only_ssh=only_ssh))
        else:
            yield from _in_value(value, field.kind, place, allow_file)


def _in_value(value: Any, kind: Any, at: str, allow_file: bool) -> Iterator[Problem]:
    if not value:
        return
    if _is_url(kind):
        yield from _problem(at, remotes.download_objection(value, allow_file=allow_file))
    elif _is_struct(kind):
        yield from _in_struct(value, at, allow_file)
    else:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _in_value(item, _item(kind), f"{at}/{_escape(str(key))}", allow_file)


def _problem(at: str, message: str) -> Iterator[Problem]:
    if message:
        yield Problem(at, message)


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.name, field.encode_name, _plain(field.type))
        for field in msgspec.structs.fields(kind)
        if _leads_to_url(field.type)
    )


def _leads_to_url(kind: Any) -> bool:
    kind = _plain(kind)
    if _is_url(kind):
        return True
    return bool(_fields(kind)) if _is_struct(kind) else any(map(_leads_to_url, get_args(kind)))


def _plain(kind: Any) -> Any:
    """`kind` without the bounds of a container, and without `| None`."""
    if get_origin(kind) is Annotated and not _is_url(kind):
        kind = get_args(kind)[0]
    options = [option for option in get_args(kind) if option is not type(None)]
    return _plain(options[0]) if type(None) in get_args(kind) and len(options) == 1 else kind


def _item(kind: Any) -> Any:
    """The type of a list's items or a mapping's values."""
    return _plain(next(each for each in reversed(get_args(kind)) if each is not ...))


def _is_url(kind: Any) -> bool:
    return bool(kind in (Url, RemoteUrl))


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
