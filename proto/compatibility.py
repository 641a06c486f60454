"""Finds what a new version of the contract would break for clients of the old version, by comparing their descriptors.

A new version may add to the contract. It must not remove, rename, renumber or retype a package, service, call, message,
field, enum or reserved range of the old version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

Facts = dict[str, object]
"""The parts of a contract: the kind and full name (or number) of each part → what must not change about it."""


def breaks(old: bytes, new: bytes) -> list[str]:
    """One sentence for each part of the old descriptor set that the new one lacks or has changed."""
    before, after = facts(old), facts(new)
    return sorted(_sentence(key, value, after) for key, value in before.items() if after.get(key) != value)


def facts(descriptors: bytes) -> Facts:
    """All parts of a descriptor set."""
    found: Facts = {}
    for file in FileDescriptorSet.FromString(descriptors).file:
        found.update(_file(file))
    return found


def _sentence(key: str, value: object, after: Facts) -> str:
    if key not in after:
        return f"{key} is gone (it was {value})"
    return f"{key} was {value} and is {after[key]}"


def _file(file: FileDescriptorProto) -> Iterator[tuple[str, object]]:
    yield f"package {file.package}", file.syntax
    for message in file.message_type:
        yield from _message(f"{file.package}.{message.name}", message)
    for enum in file.enum_type:
        yield from _enum(f"{file.package}.{enum.name}", enum)
    for service in file.service:
        yield from _service(f"{file.package}.{service.name}", service)


def _message(name: str, message: DescriptorProto) -> Iterator[tuple[str, object]]:
    yield f"message {name}", "a map's entry" if message.options.map_entry else "a message"
    for field in message.field:
        yield f"field {name}.{field.number}", _field(message, field)
    yield from _reserved(name, message)
    for nested in message.nested_type:
        yield from _message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum)


def _field(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type)
    label = FieldDescriptorProto.Label.Name(field.label)
    presence = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "no oneof"
    return f"{label} {kind} {field.name} (JSON {field.json_name!r}, {presence})"


def _enum(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, object]]:
    yield f"enum {name}", "an enum"
    for value in enum.value:
        yield f"value {name}.{value.number}.{value.name}", "a value"
    yield from _reserved(name, enum)


def _reserved(name: str, kind: Any) -> Iterator[tuple[str, object]]:
    for reserved in kind.reserved_range:
        yield f"reserved {name} {reserved.start}-{reserved.end}", "reserved"
    for reserved in kind.reserved_name:
        yield f"reserved {name} {reserved}", "reserved"


def _service(name: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, object]]:
    yield f"service {name}", "a service"
    for call in service.method:
        streams = f"{'stream ' * call.client_streaming}{call.input_type}"
        answers = f"{'stream ' * call.server_streaming}{call.output_type}"
        yield f"call {name}/{call.name}", f"({streams}) returns ({answers})"
