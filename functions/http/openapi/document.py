"""The OpenAPI 3.1 document: paths from the table of request types, schemas from structs, errors from their table.

python -m functions.http.openapi.document      prints it
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from functions.http.openapi.schemas import REF, components
from runner.errors import TABLE, Problem
from runner.jobs import JobResult
from runner.request_types import REQUEST_TYPES, RequestType

EXAMPLES = Path(__file__).with_name("examples.json")
"""Requests by request type and name. Each is valid, and a test sends it to a server."""

PROBLEM = "application/problem+json"
SERVER_STATUSES = (404, 405, 408, 411, 414, 417, 431, 501)
"""What the server refuses by itself, before a function sees the request."""

_REQUEST_ID = "4a60cb41082e4c419ebffa6292232379"
_DEPENDS_ON_SIDECAR = (500, 503, 504)


class AcceptedJobs(msgspec.Struct, frozen=True):
    """Every job that the request asks for exists."""

    jobs: tuple[JobResult, ...]


class ProblemDetails(msgspec.Struct, frozen=True):
    """An error (RFC 9457). `code` is stable; `detail` says what happened, to what, and what to do next."""

    type: Annotated[str, Meta(pattern=r"\Aurn:orchestrator:error:[a-z_]{1,64}\Z")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    code: Annotated[str, Meta(pattern=r"\A[a-z_]{1,64}\Z", description="Repeat the request or not: see docs/http.md.")]
    detail: str
    request_id: str
    errors: Annotated[tuple[Problem, ...], Meta(max_length=1000, description="Every bad field, for `invalid`.")] = ()


class Health(msgspec.Struct, frozen=True):
    """The process runs, or a request sent now would be served by one of these drivers."""

    status: Literal["ok"]
    drivers: tuple[str, ...] = ()


def document(rows: Iterable[RequestType]) -> dict[str, Any]:
    """The document of an application that serves these request types."""
    rows = list(rows)
    paths = {f"{prefix}{path}": _task(row, path, prefix) for row in rows for path in row.paths for prefix in _PREFIXES}
    schemas = components([*(row.payload for row in rows), AcceptedJobs, ProblemDetails, Health])
    return {
        "openapi": "3.1.0",
        "info": {"title": "The Orchestrator", "version": "1", "description": _ABOUT},
        "tags": [
            {"name": "tasks", "description": "Requests that start or stop jobs."},
            {"name": "server", "description": "Health and this document; no token is needed."},
        ],
        "security": [{"bearer": []}],
        "paths": paths | _server_paths(),
        "components": {
            "schemas": schemas,
            "requestBodies": {row.name: _request_body(row) for row in rows},
            "responses": _responses(),
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {"bearer": _BEARER},
        },
    }


def encoded(rows: Iterable[RequestType]) -> bytes:
    """The document as JSON, readable, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(document(rows)), indent=1) + b"\n"


_PREFIXES = ("", "/apps/{app_id}")

_ABOUT = """Every request type has a path of its own, and the same path below `/apps/{app_id}`.
A 2xx means that every job of the request exists, so a request may be repeated until it gets one.
Unknown fields are accepted, and `null` is a missing field. A body has at most 4 MiB and 64 levels of nesting.
Rules that no schema can say: the checks of an analysis differ in `check_seq`, and no URL leads to a cloud's metadata
service."""

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Signed with the control plane's key (RS256); it has `exp`, and `runner_id` equal to `runner.id`.",
}

_PARAMETERS = {
    "app_id": {"name": "app_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Comes back and stands in the logs, if it is 1 to 128 ASCII letters, digits, '.', '_' or '-'.",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context. Is stored with the jobs and sent with their results, if it is valid.",
        "schema": {"type": "string"},
    },
    "X-Installation-ID": {
        "name": "X-Installation-ID",
        "in": "header",
        "description": "Accepted and not used.",
        "schema": {"type": "string"},
    },
}

_HEADERS = {
    "X-Request-ID": {
        "required": True,
        "description": "The caller's own where it is valid, else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}},
    "ETag": {"required": True, "schema": {"type": "string"}},
}


def _task(row: RequestType, path: str, prefix: str) -> dict[str, Any]:
    """The path item of one spelling of one path."""
    first = path == row.paths[0]
    parameters = ["X-Request-ID", "traceparent", *(["app_id", "X-Installation-ID"] if prefix else [])]
    operation = {
        "tags": ["tasks"],
        "operationId": f"{path.rpartition('/')[2]}{'_of_app' if prefix else ''}",
        "summary": (row.payload.__doc__ or "").partition("\n")[0] if first else f"The same as {row.paths[0]}.",
        "requestBody": {"$ref": f"#/components/requestBodies/{row.name}"},
        "responses": {
            "200": _response_ref("Existed"),
            "201": _response_ref("Created"),
            **{str(status): _response_ref(_problem_name(status)) for status in _statuses()},
            "default": _response_ref("Problem"),
        },
    }
    item: dict[str, Any] = {"parameters": [{"$ref": f"#/components/parameters/{name}"} for name in parameters]}
    return item | {"post": operation | ({} if first else {"deprecated": True})}


def _request_body(row: RequestType) -> dict[str, Any]:
    named = msgspec.json.decode(EXAMPLES.read_bytes())[row.name]
    schema = {"$ref": REF.format(name=row.payload.__name__)}
    examples = {name: {"value": value} for name, value in named.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _statuses() -> list[int]:
    return sorted({*SERVER_STATUSES, *(row.http for row in TABLE.values())})


def _responses() -> dict[str, Any]:
    problems = {_problem_name(status): _problem(status) for status in _statuses()}
    return {
        "Created": _json("At least one job was created.", "AcceptedJobs", _accepted("created")),
        "Existed": _json("All jobs existed, or the check is cancelled.", "AcceptedJobs", _accepted("exists")),
        "Alive": _json("The process runs.", "Health", {"status": "ok"}),
        "Ready": _json("A request sent now would be served.", "Health", {"status": "ok", "drivers": ["local"]}),
        "Problem": _response("Any other error.", PROBLEM, "ProblemDetails", {}),
        **problems,
    }


def _accepted(state: str) -> dict[str, Any]:
    return {"jobs": [{"name": "analysis-s0-r-1-1", "driver": "local", "state": state}]}


def _problem_name(status: int) -> str:
    return f"Problem-{status}"


def _problem(status: int) -> dict[str, Any]:
    codes = [code for code, row in TABLE.items() if row.http == status]
    examples = {code: {"value": _example_problem(code)} for code in codes}
    titles = [TABLE[code].title for code in codes] or [HTTPStatus(status).phrase]
    more = {401: ["WWW-Authenticate"], 429: ["Retry-After"]}.get(status, [])
    if status in _DEPENDS_ON_SIDECAR:
        more = ["Retry-After"]
    return _response(f"{', or: '.join(titles)}.", PROBLEM, "ProblemDetails", examples, more)


def _example_problem(code: str) -> dict[str, Any]:
    message = "must be a commit id of 7 to 64 hexadecimal digits"
    problem = {
        "type": f"urn:orchestrator:error:{code}",
        "title": TABLE[code].title,
        "status": TABLE[code].http,
        "code": code,
        "detail": f"/vcs_meta/checkout_oid {message}" if code == "invalid" else "what happened, and what to do next",
        "request_id": _REQUEST_ID,
    }
    errors = {"errors": [{"pointer": "/vcs_meta/checkout_oid", "message": message}]}
    return problem | (errors if code == "invalid" else {})


def _json(description: str, schema: str, value: Any) -> dict[str, Any]:
    return _response(description, "application/json", schema, {"example": {"value": value}})


def _response(
    description: str, media: str, schema: str, examples: dict[str, Any], headers: Iterable[str] = ()
) -> dict[str, Any]:
    content = {"schema": {"$ref": REF.format(name=schema)}} | ({"examples": examples} if examples else {})
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": description, "headers": named, "content": {media: content}}


def _response_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{name}"}


def _server_paths() -> dict[str, Any]:
    failures = {str(status): _response_ref(_problem_name(status)) for status in _DEPENDS_ON_SIDECAR}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", "ETag")}
    own = {
        "200": {
            "description": "The document that you read.",
            "headers": headers,
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "304": {"description": "It has the ETag that `If-None-Match` names.", "headers": headers},
    }
    return {
        "/livez": _get("livez", "The process runs; nothing else is touched.", {"200": _response_ref("Alive")}),
        "/readyz": _get("readyz", "A request would be served.", {"200": _response_ref("Ready"), **failures}),
        "/openapi.json": _get("openapi", "This document.", own),
    }


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    operation = {"tags": ["server"], "operationId": name, "summary": summary, "security": [], "responses": responses}
    return {"parameters": [{"$ref": "#/components/parameters/X-Request-ID"}], "get": operation}


if __name__ == "__main__":
    sys.stdout.buffer.write(encoded(REQUEST_TYPES.values()))
