"""Records the frames between functions and sidecar: the bytes of each, and the fields of the release's own types."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
from recorder import release

from tests.unit import documents


def record() -> dict[str, Any]:
    types: dict[str, dict[str, Any]] = {}
    for kind in release.frames().values():
        _describe(kind, types)
    tags = {tag: kind.__name__ for tag, kind in release.frames().items()}
    return {"frames": dict(_frames()), "tags": tags, "types": types}


def _frames() -> Iterator[tuple[str, str]]:
    """By name: a frame with its header, in base64."""
    policy = release.Policy(runner_id="runner-1", public_key="")
    for request_type, kind in release.request_types.items():
        request = release.decode(json.dumps(documents.whole(request_type)).encode(), kind, policy)
        yield f"submit {request_type}", _encoded(release.submission(request_type, request, 12.5, "trace-1"))
    for tag, fields in _FIELDS.items():
        wire = {"kind": tag, **msgspec.to_builtins(fields)}  # a field's name in Python may differ from that on the wire
        yield tag, _encoded(msgspec.convert(wire, release.frames()[tag]))


_JOB_RESULTS = tuple(
    release.JobResult(name=f"job-{state}", driver="local", state=state) for state in ("created", "exists", "cancelled")
)
_FIELDS: dict[str, dict[str, Any]] = {
    "ping": {"deadline": 12.5},
    "ask-terms": {},
    "accepted": {"jobs": _JOB_RESULTS},
    "refused": {
        "code": "invalid",
        "detail": "two fields are wrong",
        "retry_after": 7,
        "problems": (release.Problem("/run_id", "must be a string"), release.Problem("/keys", "is missing")),
    },
    "pong": {"drivers": ("kubernetes", "local"), "pid": 4711},
    "terms": {"terms": release.Policy(runner_id="runner-1", public_key="fake key", allow_file_remotes=True)},
}


def _encoded(frame: Any) -> str:
    return base64.b64encode(release.encode_frame(frame)).decode()


def _describe(kind: type, types: dict[str, dict[str, Any]]) -> None:
    """Add the struct's fields on the wire with their types, and those of every struct in them."""
    field_types = get_type_hints(kind)
    types[kind.__name__] = {
        "array": kind.__struct_config__.array_like,
        "fields": {
            field.encode_name: {"type": _source_of(field_types[field.name]), "required": field.required}
            for field in msgspec.structs.fields(kind)
        },
    }
    for inner in _structs(tuple(field_types[field.name] for field in msgspec.structs.fields(kind))):
        if inner.__name__ not in types:
            _describe(inner, types)


def _structs(types: tuple[Any, ...]) -> Iterator[type]:
    for kind in types:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield kind
        yield from _structs(tuple(each for each in get_args(kind) if not isinstance(each, str)))


def _source_of(kind: Any) -> str:
    """The type as Python source, without the modules' names."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else re.sub(r"\b[a-z_]+\.", "", repr(kind))
