"""The project's errors: one hierarchy, and one table for every protocol.

A library's exception never leaves the module that called the library: it is chained as the cause of one of these.
The table is the single source of what a client of each protocol gets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from runner.security.masking import mask

MAX_DETAIL = 2048
"""Characters of an error's detail, in answers and in logs. What is quoted in one may be as long as a request."""

Requeue = Literal["dead-letter", "delay", "delay-then-dead-letter", "-"]


class Row(msgspec.Struct, frozen=True):
    """An error code in each protocol."""

    http: int
    title: str
    grpc: str
    amqp: Requeue


TABLE: dict[str, Row] = {
    "malformed": Row(400, "The body cannot be read", "INVALID_ARGUMENT", "dead-letter"),
    "unauthenticated": Row(401, "The caller is not known", "UNAUTHENTICATED", "-"),
    "forbidden": Row(403, "The caller may not do this", "PERMISSION_DENIED", "-"),
    "conflict": Row(409, "Another request has this job's name", "ALREADY_EXISTS", "dead-letter"),
    "too_large": Row(413, "The request is too large", "RESOURCE_EXHAUSTED", "dead-letter"),
    "unsupported_media_type": Row(415, "The body is not JSON", "-", "dead-letter"),
    "invalid": Row(422, "The request has invalid fields", "INVALID_ARGUMENT", "dead-letter"),
    "rejected": Row(422, "The cluster will never take this job", "FAILED_PRECONDITION", "dead-letter"),
    "busy": Row(429, "No capacity at the moment", "RESOURCE_EXHAUSTED", "delay"),
    "internal": Row(500, "Internal error", "INTERNAL", "delay-then-dead-letter"),
    "unavailable": Row(503, "The runner or its cluster is not reachable", "UNAVAILABLE", "delay"),
    "timeout": Row(504, "No answer within the deadline", "DEADLINE_EXCEEDED", "delay"),
}


class Problem(msgspec.Struct, frozen=True, order=True):
    """One bad field: `pointer` is a JSON pointer (RFC 6901), `message` completes the sentence "this field …"."""

    pointer: str
    message: str


class OrchestratorError(Exception):
    """Base of all errors.

    `detail` says what happened, to what, and what to do next, without secrets; it is cut to `MAX_DETAIL` characters.
    `retry_after` is in seconds, for the errors that a repeat can resolve. `problems` names fields, for `Invalid` only.
    """

    code: ClassVar[str] = "internal"
    default_retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str, *, retry_after: int | None = None, problems: Iterable[Problem] = ()) -> None:
        if len(detail) > MAX_DETAIL:
            detail = f"{mask(detail)[: MAX_DETAIL - 1]}…"
        super().__init__(detail)
        self.detail = detail
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.problems = tuple(problems)


class Malformed(OrchestratorError):
    """The bytes are not JSON: not UTF-8, cut off, or nested too deeply."""

    code = "malformed"


class Unauthenticated(OrchestratorError):
    """No bearer token, or one that does not verify."""

    code = "unauthenticated"


class Forbidden(OrchestratorError):
    """A valid token, but for another runner."""

    code = "forbidden"


class Conflict(OrchestratorError):
    """A job of this name exists and was made from a different request."""

    code = "conflict"


class TooLarge(OrchestratorError):
    """The body, or one argument of a job, is over its bound."""

    code = "too_large"


class UnsupportedMediaType(OrchestratorError):
    """The declared media type is not JSON."""

    code = "unsupported_media_type"


class Invalid(OrchestratorError):
    """The JSON is well formed but fields are wrong; `problems` has every one of them, up to a bound."""

    code = "invalid"

    def __init__(self, problems: Iterable[Problem], detail: str = "") -> None:
        listed = tuple(sorted(set(problems)))
        named = "; ".join(f"{problem.pointer or '/'} {problem.message}" for problem in listed[:3])
        more = f"; and {len(listed) - 3} more" if len(listed) > 3 else ""
        super().__init__(detail or f"{named}{more}", problems=listed)


class Rejected(OrchestratorError):
    """The cluster will never accept this job."""

    code = "rejected"


class Busy(OrchestratorError):
    """Over quota, throttled, or every worker is busy: the same request succeeds later."""

    code = "busy"
    default_retry_after = 2


class Unavailable(OrchestratorError):
    """The sidecar or the cluster cannot be reached, or ended with the request in flight."""

    code = "unavailable"
    default_retry_after = 2


class Timeout(OrchestratorError):
    """The deadline passed before there was an answer. A repeat of the request finds out whether a job exists."""

    code = "timeout"
    default_retry_after = 5


class Internal(OrchestratorError):
    """Internal error: a fault of this program, or a configuration that it cannot use."""

    code = "internal"
    default_retry_after = 30


BY_CODE: dict[str, type[OrchestratorError]] = {
    kind.code: kind
    for kind in (
        Malformed, Unauthenticated, Forbidden, Conflict, TooLarge, UnsupportedMediaType,
        Rejected, Busy, Unavailable, Timeout, Internal,
    )
}  # fmt: skip


def revive(code: str, detail: str, retry_after: int | None, problems: Iterable[Problem]) -> OrchestratorError:
    """The error with these values, which another process sent; exceptions themselves are never sent."""
    if code == Invalid.code:
        return Invalid(problems, detail)
    return BY_CODE.get(code, Internal)(detail, retry_after=retry_after)
