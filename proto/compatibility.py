"""What a new version of the contract would break for clients of the old one, by comparing their descriptors.

What is held: nothing that the old one has is gone, bears another name or number, or has another type; that is so for
packages, services, calls, messages, fields, enums and reserved ranges. Adding is free.
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
"""What is promised: a thing's name or number, under its parents', and what is not to change about it."""


def breaks(old: bytes, new: bytes) -> list[str]:
    """One sentence for each promise of the old descriptor set that the new one does not keep."""
    promised, kept = facts(old), facts(new)
    return sorted(_sentence(key, value, kept) for key, value in promised.items() if kept.get(key) != value)


def facts(descriptors: bytes) -> Facts:
    """All promises of a descriptor set."""
    found: Facts = {}
    for file in FileDescriptorSet.FromString(descriptors).file:
        found.update(_file(file))
    return found


def _sentence(key: str, value: object, kept: Facts) -> str:
    if key not in kept:
        return f"{key} is gone (it was {value})"
    return f"{key} was {value} and is {kept[key]}"


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
