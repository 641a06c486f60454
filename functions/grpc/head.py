"""A call's headers: decoding them, and refusing a call because of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from grpclib.const import Status

from functions.function import request_id
from functions.grpc.errors import Headers
from runner.runtime.traces import traceparent

CONTENT_TYPE = "application/grpc+proto"

_TIMEOUT = re.compile(r"\A([0-9]{1,8})([HMSmun])\Z")  # the gRPC specification's TimeoutValue and TimeoutUnit
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Head(msgspec.Struct, frozen=True):
    """A call's headers, decoded. `deadline` is on the monotonic clock; None if the client sent no timeout."""

    path: str
    deadline: float | None
    authorization: str
    request_id: str
    traceparent: str = ""
    """Empty if the client sent none, or one that is not valid."""


class CallRefused(Exception):
    """A refusal that the table of errors does not have: wrong method, content type, path or compression."""

    def __init__(self, http: int, status: Status, message: str, *more: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Headers = [
            (":status", str(http)),
            ("content-type", CONTENT_TYPE if http == 200 else "text/plain"),
        ]
        self.headers += [("grpc-status", str(status.value)), ("grpc-message", message), *more]


def read_head(headers: Headers, now: float) -> Head:
    """Decode the headers; `now` is on the monotonic clock, in seconds. Raises CallRefused."""
    named = dict(headers)
    _require_valid(headers, named)
    if named.get(":method") != "POST":
        raise CallRefused(405, Status.UNKNOWN, "gRPC calls are POST only", ("allow", "POST"))
    media, _, _ = named.get("content-type", "").partition(";")
    if media not in ("application/grpc", "application/grpc+proto"):
        raise CallRefused(415, Status.UNKNOWN, "send application/grpc or application/grpc+proto")
    return Head(
        path=named.get(":path", ""),
        deadline=_deadline(named.get("grpc-timeout"), now),
        authorization=_only("authorization", headers),
        request_id=request_id(named.get("x-request-id", "")),
        traceparent=traceparent(_only("traceparent", headers)) if "traceparent" in named else "",
    )


_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9a-z:-]+\Z")
_OF_A_CONNECTION = ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")


def _require_valid(headers: Headers, named: Mapping[str, str]) -> None:
    """Refuse what RFC 9113 calls malformed, 8.2.1 and 8.2.2: a proxy may read it in another way."""
    values = "".join([value for _, value in headers])
    names = "".join(named)
    if (
        "\0" in values
        or "\r" in values
        or "\n" in values
        or "" in named
        or not _NAMES.match(names)
        or not named.keys().isdisjoint(_OF_A_CONNECTION)
        or named.get("te", "trailers") != "trailers"
    ):
        raise CallRefused(400, Status.INTERNAL, "A header is not valid in HTTP/2; see RFC 9113, section 8.2")


def _only(wanted: str, headers: Headers) -> str:
    """The header's value; empty if it is missing or there are several."""
    given = [value for name, value in headers if name == wanted]
    return given[0] if len(given) == 1 else ""


def _deadline(timeout: str | None, now: float) -> float | None:
    if timeout is None:
        return None
    if not (match := _TIMEOUT.match(timeout)):
        raise CallRefused(200, Status.INVALID_ARGUMENT, "grpc-timeout must be at most 8 digits and one of H M S m u n")
    return now + int(match[1]) * _UNITS[match[2]]


def header_bytes(headers: Headers) -> int:
    """The size of the headers, with 32 bytes more for each (RFC 9113, 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in headers)
