"""The payloads' types without their bounds: a function has validated a request before the sidecar reads it.

Each is a subclass of its payload, with the same fields in the same order. So it has the same methods and is encoded
alike, while a decoder only looks at what each value is: text, number, list.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Raw

from runner.payloads.fields import Configured, Request


def encode(request: Request) -> bytes:
    """The request in msgpack. It holds the sender's own JSON of `config` as bytes."""
    if isinstance(request, Configured):
        request = msgspec.structs.replace(request, config=bytes(request.config))
    return _encoder.encode(request)


def decoder(payload: type[Request]) -> msgspec.msgpack.Decoder[Any]:
    """Decodes what `encode` made of a request of this type."""
    return msgspec.msgpack.Decoder(_unchecked(payload))


_encoder = msgspec.msgpack.Encoder()


@cache
def _unchecked(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        options = {"name": field.encode_name}
        for option in ("default", "default_factory"):
            if (value := getattr(field, option)) is not NODEFAULT:
                options[option] = value
        fields.append((field.name, _without_bounds(field.type), msgspec.field(**options)))
    return msgspec.defstruct(
        kind.__name__,
        fields,
        bases=(kind,),
        module=kind.__module__,
        frozen=True,
        kw_only=True,
        omit_defaults=kind.__struct_config__.omit_defaults,
    )


def _without_bounds(kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _without_bounds(arguments[0])
    if origin in (Union, UnionType):
        return Union[tuple(map(_without_bounds, arguments))]  # noqa: UP007  (the alternatives are values here)
    if origin is tuple:
        return tuple[_without_bounds(arguments[0]), ...]  # type: ignore[misc]
    if origin is dict:
        return dict[_without_bounds(arguments[0]), _without_bounds(arguments[1])]  # type: ignore[misc]
    if kind is Raw:
        return bytes
    return _unchecked(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else kind
