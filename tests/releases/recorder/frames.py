"""What functions and sidecar say to each other: each frame's bytes, its fields, and the types that it is read by."""

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
    """By what it says: a frame with its header, in base64."""
    policy = release.Policy(runner_id="runner-1", public_key="")
    for request_type, kind in release.request_types.items():
        request = release.decode(json.dumps(documents.whole(request_type)).encode(), kind, policy)
        yield f"submit {request_type}", _encoded(release.submission(request_type, request, 12.5, "trace-1"))
    for tag, fields in _FIELDS.items():
        wire = {"kind": tag, **msgspec.to_builtins(fields)}  # fields may have another name in Python
        yield tag, _encoded(msgspec.convert(wire, release.frames()[tag]))


_PLACED = tuple(
    release.JobResult(name=f"job-{state}", driver="local", state=state) for state in ("created", "exists", "cancelled")
)
_FIELDS: dict[str, dict[str, Any]] = {
    "ping": {"deadline": 12.5},
    "ask-terms": {},
    "accepted": {"jobs": _PLACED},
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
    """The struct's fields on the wire with their types, and the same of every struct in them."""
    hints = get_type_hints(kind)
    types[kind.__name__] = {
        "array": kind.__struct_config__.array_like,
        "fields": {
            field.encode_name: {"type": _spelled(hints[field.name]), "required": field.required}
            for field in msgspec.structs.fields(kind)
        },
    }
    for inner in _structs(tuple(hints[field.name] for field in msgspec.structs.fields(kind))):
        if inner.__name__ not in types:
            _describe(inner, types)


def _structs(hints: tuple[Any, ...]) -> Iterator[type]:
    for hint in hints:
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield hint
        yield from _structs(tuple(each for each in get_args(hint) if not isinstance(each, str)))


def _spelled(hint: Any) -> str:
    """The type as Python, without the modules' names."""
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else re.sub(r"\b[a-z_]+\.", "", repr(hint))
