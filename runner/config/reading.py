"""Typed reading of JSON that reports every bad field, not the first.

msgspec decodes and checks in one pass, but stops at its first error. So the fast way is tried first; only what it
refuses is walked a second time, field by field, each with its JSON pointer. The walk is also where `null` is taken as
"missing" (atlas is written in Go, whose nil slices and maps are sent as `null`).
Documents stay raw bytes until their type is known, so a `msgspec.Raw` field keeps the sender's own characters.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Raw
from msgspec.structs import FieldInfo

from runner.errors import Invalid, Malformed, Problem

T = TypeVar("T")
Unknown = Literal["accept", "refuse"]

MAX_DEPTH = 64
"""Levels of nesting that are read. msgspec itself gives up at Python's recursion limit, with a RecursionError."""

MAX_PROBLEMS, MAX_PROBLEM_BYTES = 1000, 56 * 1024
"""The most problems that are reported, and their bytes as JSON. Reading stops there.

That bounds the time for an error. With its detail, an answer has at most 64 KiB.
"""

MAX_QUOTED = 256
"""Characters of one key that a pointer quotes."""

# Possessive, and a string without an end reaches to the end of the document: no byte is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""A bracket as a step of the depth, a signed byte."""
_WHERE = re.compile(r" - at `.*\Z")

# Half of a surrogate pair as JSON escapes it: a high one that no low one follows, a low one that follows no high one.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))


def read(
    document: bytes,
    kind: type[T],
    *,
    unknown: Unknown = "accept",
    rules: Callable[[T], Iterator[Problem]] = lambda _: iter(()),
    at: str = "",
) -> T:
    """`document` as a `kind`, or every reason why not.

    `at` is the JSON pointer of the document itself, where it is a part of a larger one.
    `rules` are the checks that a type cannot express. They also run on a partly read value, so that one error lists all
    problems. A field that could not be read is None.
    Raises Malformed where it is no JSON, else Invalid with all problems (the first `MAX_PROBLEMS` of them).
    """
    document = readable(document)
    if unknown == "accept":
        with suppress(msgspec.ValidationError):
            whole: T = _decoded(document, kind)
            if not any(rules(whole)):
                return whole
    return _read_slowly(document, kind, unknown, rules, at)


def _read_slowly(
    document: bytes, kind: type[T], unknown: Unknown, rules: Callable[[T], Iterator[Problem]], at: str
) -> T:
    _decoded(document, Raw)  # a wrong type at the top would hide that the rest is no JSON
    walk = _Walk(unknown)
    with suppress(_EnoughError):
        value: T | None = walk.value(Raw(document), kind, at)
        if value is not None:
            for problem in rules(value):
                walk.report(problem.pointer, problem.message)
            if not walk.problems:
                return value
    raise Invalid(walk.problems)


def mismatch(value: Any, kind: Any) -> str:
    """Why a value is no `kind`: the end of the sentence "this field …". Empty if it is one."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return _message(kind, error)
    return ""


def readable(document: bytes) -> bytes:
    """The document, without lone surrogates. Raises Malformed if it is not UTF-8, or nested too deeply."""
    if not document.isascii():
        try:
            document.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"the body is not UTF-8 (byte {error.start}); send JSON in UTF-8") from error
    if document.count(b"[") + document.count(b"{") > MAX_DEPTH and _too_deep(document):
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels")
    return without_lone_surrogates(document) if b"\\u" in document else document


def without_lone_surrogates(document: bytes) -> bytes:
    """The document, with U+FFFD for each lone surrogate in it.

    Python and other programs write a file name that is not UTF-8 with lone surrogates, which no string may contain.
    """
    if (b"\\ud" not in document and b"\\uD" not in document) or b"\0" in document:
        return document  # NUL is in no JSON
    # Escaped backslashes are put aside, so that every backslash that is left begins an escape.
    escapes = document.replace(rb"\\", b"\0")
    return _LONE_SURROGATE.sub(rb"\\ufffd", escapes).replace(b"\0", rb"\\")


def _too_deep(document: bytes) -> bool:
    """Nesting without a Python loop over the bytes: strip strings, keep brackets, add up +1 and -1.

    Which kind of bracket it is does not matter here: a pair that does not match is no JSON, as the decoder will say.
    """
    steps = _STRING.sub(b"", document).translate(_STEPS, _NOT_BRACKETS)
    return any(depth > MAX_DEPTH for depth in accumulate(memoryview(steps).cast("b")))


class _EnoughError(Exception):
    """`MAX_PROBLEMS` or `MAX_PROBLEM_BYTES` have been found."""


class _Walk:
    """One reading of one document, collecting problems as it goes."""

    def __init__(self, unknown: Unknown) -> None:
        self.problems: list[Problem] = []
        self._bytes = 0
        self._unknown = unknown

    def value(self, raw: Raw, kind: Any, at: str) -> Any:
        """`raw` as a `kind`; a wrong value is reported, and stands for itself as None in the result."""
        if self._unknown == "accept":
            with suppress(msgspec.ValidationError):
                return _decoded(raw, kind)
        base = _base(kind)
        if isinstance(base, type) and issubclass(base, msgspec.Struct):
            return self._struct(raw, base, at)
        if get_origin(base) is tuple:
            return self._items(raw, kind, base, at)
        if get_origin(base) is dict:
            return self._values(raw, kind, base, at)
        return self._decode(raw, kind, at)

    def _struct(self, raw: Raw, kind: type[msgspec.Struct], at: str) -> Any:
        members = self._decode(raw, dict[str, Raw], at, "must be an object")
        if members is None:
            return None
        fields = _fields(kind)
        if self._unknown == "refuse":
            self._refuse_unknown(members, tuple(fields), at)
        given = {
            field.name: self._field(members.get(name), field, f"{at}/{quoted(name)}")
            for name, field in fields.items()
            if _given(members.get(name)) or _required(field)
        }
        return kind(**given)

    def _field(self, raw: Raw | None, field: FieldInfo, at: str) -> Any:
        if raw is None or not _given(raw):
            self.report(at, "is required")
            return None
        return self.value(raw, field.type, at)

    def _refuse_unknown(self, members: dict[str, Raw], known: Sequence[str], at: str) -> None:
        for name in members.keys() - set(known):
            spelt = {each.lower(): each for each in known}
            near = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.5)
            advice = f"did you mean {spelt[near[0]]!r}?" if near else f"known here: {', '.join(known)}"
            self.report(f"{at}/{quoted(name)}", f"is not a known key; {advice}")

    def _items(self, raw: Raw, kind: Any, base: Any, at: str) -> Any:
        items = self._decode(raw, list[Raw], at, "must be a list")
        if items is None:
            return None
        (item, _) = get_args(base)
        self._bounds(items, kind, at)
        return tuple(self.value(each, item, f"{at}/{index}") for index, each in enumerate(items))

    def _values(self, raw: Raw, kind: Any, base: Any, at: str) -> Any:
        members = self._decode(raw, dict[str, Raw], at, "must be an object")
        if members is None:
            return None
        (key, item) = get_args(base)
        self._bounds(members, kind, at)
        if self._unknown == "accept":
            members = {name: each for name, each in members.items() if _given(each)}
        for name in members:
            self._convert(name, key, f"{at}/{quoted(name)}")
        return {name: self.value(each, item, f"{at}/{quoted(name)}") for name, each in members.items()}

    def _bounds(self, container: Any, kind: Any, at: str) -> None:
        """The length bounds of a list or object, whose members are read one by one."""
        if get_origin(kind) is Annotated:
            loose: Any = dict[str, Any] if isinstance(container, dict) else tuple[Any, ...]
            self._convert(container, Annotated[loose, *get_args(kind)[1:]], at)

    def _decode(self, raw: Raw, kind: Any, at: str, message: str = "") -> Any:
        try:
            return _decoded(raw, kind)
        except msgspec.ValidationError as error:
            self.report(at, message or _message(kind, error))
        return None

    def _convert(self, value: Any, kind: Any, at: str) -> None:
        if message := mismatch(value, kind):
            self.report(at, message)

    def report(self, at: str, message: str) -> None:
        """Add a problem. Raises _EnoughError if there are enough of them."""
        problem = Problem(at, message)
        self._bytes += len(msgspec.json.encode(problem)) + 1
        if self._bytes <= MAX_PROBLEM_BYTES:
            self.problems.append(problem)
        if self._bytes >= MAX_PROBLEM_BYTES or len(self.problems) >= MAX_PROBLEMS:
            raise _EnoughError


def _decoded(document: Raw | bytes, kind: Any) -> Any:
    try:
        return _decoder(kind).decode(document)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _base(kind: Any) -> Any:
    """`kind` without Annotated, and without `| None`."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    options = [option for option in get_args(kind) if option is not type(None)]
    return options[0] if type(None) in get_args(kind) and len(options) == 1 else kind


def _given(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) != b"null"


def _required(field: FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT


def _message(kind: Any, error: msgspec.ValidationError) -> str:
    """The type's own description where it has one: "must be …" with its bounds; a list of choices; msgspec's words."""
    (kind,) = [each for each in get_args(kind) if get_origin(each) is Annotated] or [kind]  # of `Annotated[…] | None`
    for meta in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        if isinstance(meta, msgspec.Meta) and meta.description:
            return f"must be {meta.description}"
    if get_origin(base := _base(kind)) is Literal:
        return f"must be one of: {', '.join(choice for choice in get_args(base) if choice)}"
    words = _WHERE.sub("", str(error)).replace("`", "")
    return f"is wrong: {words[:1].lower()}{words[1:]}"


def quoted(name: str) -> str:
    """A key as it stands in a JSON pointer, cut to `MAX_QUOTED` characters."""
    if len(name) > MAX_QUOTED:
        name = f"{name[: MAX_QUOTED - 1]}…"
    return name.replace("~", "~0").replace("/", "~1")
