"""Payload structs as JSON Schemas (2020-12) that accept what the decoder accepts, as far as JSON Schema can say it.

Where a struct's annotations say less than the decoder does, a copy of the struct is made that says all of it: `null` is
a missing field and a missing entry of a string map, `config` is checked against what is known of it, and
`_meta.resource_pool` names a pool.

Patterns are written as ECMA-262 reads them, and lengths as `minLength` and `maxLength`: several regular expression
engines refuse or unroll a bound of thousands inside a pattern.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Raw
from msgspec.structs import FieldInfo

from runner.payloads import Repository
from runner.payloads.fields import Configured, Pool, RepositoryConfig

REF = "#/components/schemas/{name}"

# A pattern that ends in a counted class, as a whole or in an optional group.
_COUNTED = re.compile(
    r"\A\\A(?P<opened>\(\?:(?=.*\)\?\\Z\Z))?(?P<first>.*)"
    r"(?P<each>\[[^\]]+\])\{(?P<least>\d+),(?P<most>\d+)\}(?(opened)\)\?)\\Z\Z",
    re.DOTALL,
)
_BOUNDED = re.compile(r"\A\\A\(\?=\.\{(?P<least>\d+),(?P<most>\d+)\}\\Z\)(?P<rest>.*)\Z", re.DOTALL)
_ONE = re.compile(r"(?:\[[^\]]+\]|[A-Za-z0-9:/])(?:\{(?P<least>\d+),(?P<most>\d+)\})?")

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,253})"
_SSH, _HTTP = "[Ss][Ss][Hh]", "[Hh][Tt][Tt][Pp][Ss]?"
_FILE = r"[Ff][Ii][Ll][Ee]:///+[^/?#][^?#]*(?:[?#].*)?"
_SCP = rf"(?!.*://)(?:[^@:/\[\]-][^@:/\[\]]*@)?{_HOST}:(?!:)/*[^/-].*"


def _url(schemes: str) -> str:
    return rf"(?:{schemes})://(?:(?!-|%2[Dd])[^/?#\\]*@)?{_HOST}(?::[0-9]{{1,5}})?/+[^/?#-][^?#]*(?:[?#].*)?"


_REMOTE = rf"^(?:{_url(f'{_HTTP}|{_SSH}')}|{_SCP}|{_FILE})$"
_SSH_REMOTE = rf"^(?:{_url(_SSH)}|{_SCP}|{_FILE})$"
"""The forms of remotes that `runner.payloads.remotes` may accept. Addresses that it refuses are not in a pattern."""


def components(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """The schemas of these structs and of all that they contain, by the structs' names."""
    _, schemas = msgspec.json.schema_components([_documented(kind) for kind in kinds], ref_template=REF)
    for schema in schemas.values():
        _rewrite_patterns(schema)
    return dict(schemas)


@functools.cache
def _documented(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """A struct of the same name and fields whose annotations say what the decoder accepts."""
    fields = [_field(kind, field) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, namespace={"__doc__": kind.__doc__})


def _field(kind: type[msgspec.Struct], field: FieldInfo) -> tuple[str, Any, Any]:
    accepted = _accepted(field.type)
    if field.name == "config" and issubclass(kind, Configured):
        accepted = _documented(RepositoryConfig)
    elif field.name == "remote_url" and issubclass(kind, Repository):
        form = _SSH_REMOTE if kind.only_ssh else _REMOTE
        accepted = Annotated[accepted, Meta(extra_json_schema={"allOf": [{"pattern": form}]})]
    elif field.encode_name == "_meta":
        (pool,), _ = msgspec.json.schema_components([Annotated[Pool, Meta()] | None])
        named = {"anyOf": [{"const": ""}, *pool["anyOf"]]}
        accepted = Annotated[accepted, Meta(extra_json_schema={"properties": {"resource_pool": named}})]
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return field.name, accepted, msgspec.field(name=field.encode_name)
    optional = accepted if accepted is Any else accepted | None
    if field.default_factory is not NODEFAULT:
        return field.name, optional, msgspec.field(name=field.encode_name, default_factory=field.default_factory)
    plain = field.default if isinstance(field.default, str | int | tuple) else None
    return field.name, optional, msgspec.field(name=field.encode_name, default=plain)


def _accepted(kind: Any) -> Any:
    """The annotation `kind`, with every struct in it replaced by its copy."""
    inner, origin = get_args(kind), get_origin(kind)
    if kind is Raw:
        return Any
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _documented(kind)
    if kind is int:  # passed on in `config`, where a number may have 64 bits
        return Annotated[int, Meta(extra_json_schema={"minimum": -(2**63), "maximum": 2**64 - 1})]
    if origin is Annotated and inner[0] is int:
        return kind
    if origin is Annotated:
        return Annotated[_accepted(inner[0]), *inner[1:]]
    if origin is tuple:
        return types.GenericAlias(tuple, (_accepted(inner[0]), ...))
    if origin is dict:
        value = _accepted(inner[1])
        return types.GenericAlias(dict, (inner[0], value | None if _is_text(inner[1]) else value))
    if origin in (Union, types.UnionType):
        return Union[tuple(_accepted(each) for each in inner)]  # noqa: UP007  # of a computed number of types
    return kind


def _is_text(kind: Any) -> bool:
    return kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str)


def _rewrite_patterns(schema: Any) -> None:
    """Write the patterns below `schema` as ECMA-262 reads them, in place."""
    if isinstance(schema, list):
        for each in schema:
            _rewrite_patterns(each)
    elif isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            schema |= _as_keywords(pattern)
        for each in schema.values():
            _rewrite_patterns(each)


def _as_keywords(pattern: str) -> dict[str, Any]:
    """The pattern, with the length in keywords of its own where the whole of it has one.

    Behind a prefix of variable length (a URL's scheme), `maxLength` allows what the longest prefix allows.
    """
    if bounded := _BOUNDED.match(pattern):
        rest = _as_keywords(rf"\A{bounded['rest']}")
        return rest | {"minLength": int(bounded["least"]), "maxLength": int(bounded["most"])}
    counted = _COUNTED.match(pattern)
    width = _width(counted["first"]) if counted else None
    if counted is None or width is None or (counted["opened"] and int(counted["least"]) > 1):
        return {"pattern": _ecma(pattern)}
    optional, least, most = bool(counted["opened"]), int(counted["least"]), width[1] + int(counted["most"])
    if optional:
        every = f"(?:{counted['first']}{counted['each']}{'+' if least else '*'})?"
        return {"pattern": f"^{_ecma(every)}$", "maxLength": most}
    every = f"{counted['first']}{counted['each']}*"
    least += width[0]
    return {"pattern": f"^{_ecma(every)}$", "maxLength": most} | ({"minLength": least} if least else {})


def _width(expression: str) -> tuple[int, int] | None:
    """The fewest and the most characters that a sequence of characters, classes and lookaheads matches.

    None for any other expression.
    """
    least = most = 0
    while expression:
        if size := _lookahead(expression):
            expression = expression[size:]
        elif one := _ONE.match(expression):
            least += int(one["least"] or 1)
            most += int(one["most"] or 1)
            expression = expression[one.end() :]
        else:
            return None
    return least, most


def _lookahead(expression: str) -> int:
    """The length of the lookahead that the expression begins with, or 0."""
    if not expression.startswith(("(?!", "(?=")):
        return 0
    depth = 0
    for index, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if not depth:
            return index + 1
    return 0


def _ecma(pattern: str) -> str:
    return pattern.replace(r"\A", "^").replace(r"\Z", "$").replace("(?s:.)", r"[\s\S]")
