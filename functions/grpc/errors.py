"""Errors over gRPC: a status from the table, and google.rpc details, which client libraries can decode.

`ErrorInfo` has the code and the request's id, `BadRequest` every bad field, `RetryInfo` when to repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as Details
from grpclib.const import Status
from grpclib.metadata import encode_bin_value, encode_grpc_message

from runner.errors import TABLE, OrchestratorError, Problem

DOMAIN = "orchestrator"
MAX_MESSAGE = 1024
"""Bytes of grpc-message, which writes most bytes that are not ASCII as three."""

MAX_DETAILS = 4096
"""Bytes of details. Clients refuse trailers over 8 KiB by default (grpcio, Java), and base64 makes 4 of 3."""

Headers = list[tuple[str, str]]

_IDENTIFIER = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")


def status_of(error: OrchestratorError) -> Status:
    """The status in the table of errors."""
    return Status[TABLE[error.code].grpc] if TABLE[error.code].grpc != "-" else Status.INTERNAL


def trailers(error: OrchestratorError, request_id: str) -> Headers:
    """The trailers (the headers after the answer) of a call that failed."""
    status = status_of(error)
    message, encoded = _cut(error.detail)
    details = Details(code=status.value, message=message, details=map(_packed, _details(error, request_id)))
    return [
        ("grpc-status", str(status.value)),
        ("grpc-message", encoded),
        ("grpc-status-details-bin", encode_bin_value(details.SerializeToString()).decode()),
    ]


def _cut(message: str) -> tuple[str, str]:
    """The message, cut to MAX_MESSAGE when encoded; and the encoded one."""
    while len(encoded := encode_grpc_message(message)) > MAX_MESSAGE:
        message = message[: len(message) * MAX_MESSAGE // len(encoded)]
    return message, encoded


def field_path(pointer: str) -> str:
    """A JSON pointer as google.rpc.BadRequest writes a field: /checks/0/check_seq is checks[0].check_seq."""
    path = ""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if name.isdecimal() and path:
            path += f"[{name}]"
        elif _IDENTIFIER.match(name):
            # `_meta` is the JSON's name of the message's field `meta`.
            path += f".{name}" if path else name.removeprefix("_")
        else:
            path += f'["{name}"]'
    return path


def _details(error: OrchestratorError, request_id: str) -> Iterable[Message]:
    info = ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata={"code": error.code, "request_id": request_id})
    yield info
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.seconds = error.retry_after
        yield retry
    if error.problems:
        yield _bad_request(error.problems)


def _bad_request(problems: tuple[Problem, ...]) -> BadRequest:
    """As many problems as fit MAX_DETAILS; the last entry says how many more there are."""
    bad = BadRequest()
    remaining = MAX_DETAILS
    for index, problem in enumerate(problems):
        path = field_path(problem.pointer)
        remaining -= len(path.encode()) + len(problem.message.encode()) + 8
        if remaining < 0:
            bad.field_violations.add(field="", description=f"and {len(problems) - index} more fields are wrong")
            break
        bad.field_violations.add(field=path, description=problem.message)
    return bad


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
