"""The URLs of a request that a job will fetch from. They are found by their types, so that no field can be forgotten.

A field counts if its type is Url or RemoteUrl, at any depth of structs, lists and mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

from runner.errors import Problem
from runner.payloads import remotes
from runner.payloads.fields import RemoteUrl, Repository, Url

Check = Callable[[Any, str, bool], Iterable[Problem]]
"""With a value, its place and whether `file:` is allowed: one problem for each URL in it that is not fetched from."""


class _Field(NamedTuple):
    """A field that is, or leads to, a URL."""

    name: str
    encoded: str
    kind: Any
    check: Check


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
        yield from field.check(getattr(part, field.name), f"{at}/{field.encoded}", allow_file)


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> tuple[_Field, ...]:
    only_ssh = issubclass(kind, Repository) and kind.only_ssh
    return tuple(
        _Field(field.name, field.encode_name, plain, _remote(only_ssh) if plain == RemoteUrl else _check(plain))
        for field in msgspec.structs.fields(kind)
        if _leads_to_url(field.type) and (plain := _plain(field.type))
    )


def _remote(only_ssh: bool) -> Check:
    def check(url: str | None, at: str, allow_file: bool) -> Iterable[Problem]:
        if url is None:
            return ()
        return _problem(at, remotes.objection(url, allow_file=allow_file, only_ssh=only_ssh))

    return check


def _check(kind: Any) -> Check:
    """The check of a type, made once, since to inspect a type takes longer than to check a value."""
    inside = _download if _is_url(kind) else _in_struct if _is_struct(kind) else _in_each(_check(_item(kind)))
    return lambda value, at, allow_file: inside(value, at, allow_file) if value else ()


def _download(url: str, at: str, allow_file: bool) -> Iterable[Problem]:
    return _problem(at, remotes.download_objection(url, allow_file=allow_file))


def _in_each(check: Check) -> Check:
    def in_each(values: Any, at: str, allow_file: bool) -> Iterator[Problem]:
        for key, item in values.items() if isinstance(values, dict) else enumerate(values):
            yield from check(item, f"{at}/{_escape(str(key))}", allow_file)

    return in_each


def _problem(at: str, message: str) -> Iterable[Problem]:
    return (Problem(at, message),) if message else ()


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
