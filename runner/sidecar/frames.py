"""The protocol between functions and sidecar: values to bytes and back, without I/O.

One connection carries one request and one reply, each a frame: four bytes with the length of what follows (big-endian,
at most `MAX_FRAME`), then a tagged struct in msgpack. Fields may be added, since a decoder skips unknown ones, so two
releases can run side by side. The struct's `version` alone distinguishes releases that cannot: it changes when the
meaning of a field does. Version 1, of release 0.1, had a request as JSON.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import msgspec

from runner import payloads
from runner.errors import OrchestratorError, Problem, TooLarge, Unavailable, revive
from runner.jobs import JobResult
from runner.payloads import RequestPolicy, unchecked
from runner.security.masking import mask

VERSION = 2
MAX_FRAME = 16 * 1024 * 1024
HEADER = struct.Struct("!I")


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of all frames."""

    version: int = VERSION


class Submit(Frame, frozen=True, tag="submit"):
    """A validated request to be carried out, in msgpack (`runner.payloads.unchecked`).

    `deadline` is on this host's monotonic clock, in seconds.
    """

    request_type: str
    request: bytes
    deadline: float
    trace_id: str
    traceparent: str = ""
    """The request's (W3C Trace Context); empty if it has none. `trace_id` is the request id."""


class Ping(Frame, frozen=True, tag="ping"):
    """Asks whether jobs can be created now."""

    deadline: float


class GetPolicy(Frame, frozen=True, tag="ask-terms"):
    """Asks for the request policy. The tag is the first release's, which reads the version of this frame as well."""


class Accepted(Frame, frozen=True, tag="accepted"):
    """All jobs of the command exist."""

    jobs: tuple[JobResult, ...]


class Refused(Frame, frozen=True, tag="refused"):
    """An OrchestratorError, as values."""

    code: str
    detail: str
    retry_after: int | None = None
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, error: OrchestratorError) -> Refused:
        """The frame from which `error` makes the same error again, without a credential that a cluster quotes."""
        return cls(code=error.code, detail=mask(error.detail), retry_after=error.retry_after, problems=error.problems)

    def error(self) -> OrchestratorError:
        """The error to raise."""
        return revive(self.code, self.detail, self.retry_after, self.problems)


class Pong(Frame, frozen=True, tag="pong"):
    """The drivers that are ready, and the worker's process id."""

    drivers: tuple[str, ...]
    pid: int


class Policy(Frame, frozen=True, tag="terms"):
    """The answer to GetPolicy. Tag and field are as the first release has them."""

    policy: RequestPolicy = msgspec.field(name="terms")


Request = Submit | Ping | GetPolicy
Reply = Accepted | Refused | Pong | Policy

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder[Request](Request)
_replies = msgspec.msgpack.Decoder[Reply](Reply)
_versions = msgspec.msgpack.Decoder[Frame](msgspec.defstruct("AnyFrame", [("version", int, VERSION)]))


def submission(
    request_type: str, request: payloads.Request, deadline: float, trace_id: str, traceparent: str = ""
) -> Submit:
    """The frame that submits a request."""
    encoded = unchecked.encode(request)
    return Submit(
        request_type=request_type, request=encoded, deadline=deadline, trace_id=trace_id, traceparent=traceparent
    )


def encode(frame: Frame) -> bytes:
    """The frame with its length in front. Raises TooLarge over `MAX_FRAME`, which the receiver would refuse."""
    body = _encoder.encode(frame)
    if len(body) > MAX_FRAME:
        raise TooLarge(f"the request has {len(body)} bytes with all its fields; {MAX_FRAME} are accepted")
    return HEADER.pack(len(body)) + body


def length(header: bytes) -> int:
    """How many bytes follow the header. Raises Unavailable over `MAX_FRAME`."""
    size: int = HEADER.unpack(header)[0]
    if size > MAX_FRAME:
        raise Unavailable(f"a frame of {size} bytes is over the bound; run the same release of functions and sidecar")
    return size


def decode_request(body: bytes) -> Request:
    """A frame from a function. Raises Unavailable if it is of another version, or not a frame."""
    request: Request = _decode(_requests, body)
    return request


def decode_reply(body: bytes) -> Reply:
    """A frame from the sidecar. Raises Unavailable if it is of another version, or not a frame."""
    reply: Reply = _decode(_replies, body)
    return reply


def _decode(decoder: msgspec.msgpack.Decoder[Any], body: bytes) -> Any:
    try:
        frame = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            _refuse_other_version(_versions.decode(body))
        raise Unavailable("a frame could not be decoded; run the same release of functions and sidecar") from error
    _refuse_other_version(frame)
    return frame


def _refuse_other_version(frame: Frame) -> None:
    if frame.version != VERSION:
        raise Unavailable(f"a frame has version {frame.version}, this process needs {VERSION}; finish the rollout")
