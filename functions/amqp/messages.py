"""Messages as values: the request in a body, a message's history, and what to do with one that was not accepted.

No broker in here. A message's history is kept in its headers, for the process that gets it next. The sender sets
headers and properties, so any of them may have any type.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from functions.amqp.topology import DELAY_HEADER
from runner.config.reading import without_lone_surrogates
from runner.errors import TABLE, Internal, OrchestratorError, TooLarge, UnsupportedMediaType
from runner.payloads import MAX_BODY

PREFIX = "x-orchestrator-"
MAX_DEFECTS = 5
"""Times that a message is tried again after an internal error, before it becomes a dead letter."""

MAX_RETURNS = 10
"""Times that a message may come back because the process that had it ended or lost its connection."""

_MAX_DETAIL, _MAX_PROBLEMS = 1000, 20
_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")
_NOT_REPEATED = frozenset({"CC", "BCC", DELAY_HEADER})
"""The broker would send copies to the keys in the first two again; the last is a delay that is over."""

_REQUEST_ID = re.compile(r"\A[A-Za-z0-9._-]{1,128}\Z")

Draw = Callable[[Sequence[int]], int]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened to a message so far. `first_seen` is in seconds since 1970."""

    queue: str
    first_seen: int
    attempts: int = 0
    defects: int = 0
    returns: int = 0

    def headers(self) -> dict[str, Any]:
        """The headers from which `history` reads this again."""
        return {PREFIX + name.replace("_", "-"): value for name, value in msgspec.structs.asdict(self).items()}


class Delay(msgspec.Struct, frozen=True):
    """The message returns to its queue after so many seconds."""

    seconds: int
    history: History
    error: OrchestratorError


class DeadLetter(msgspec.Struct, frozen=True):
    """The message is not tried again, unless an operator moves it back."""

    history: History
    error: OrchestratorError


Verdict = Delay | DeadLetter


class _Outer(msgspec.Struct):
    """What distinguishes the two shapes: every payload has `run_id` at its top, no envelope has."""

    run_id: Raw | UnsetType = UNSET
    kwargs: Raw | UnsetType = UNSET


_outer = msgspec.json.Decoder(_Outer)


def payload(body: bytes, content_encoding: str | None) -> bytes:
    """The request itself: the body, or what the envelope `{"id", "task", "kwargs", "retries"}` holds.

    A body of neither shape is returned unchanged; decoding it fails with the right error.
    Raises TooLarge, UnsupportedMediaType.
    """
    if len(body) > MAX_BODY:
        raise TooLarge(f"the message has {len(body)} bytes; {MAX_BODY} are accepted; send a smaller one")
    if (content_encoding or "utf-8").lower() not in ("utf-8", "utf8", "identity", "us-ascii"):
        raise UnsupportedMediaType(f"the body is encoded as {content_encoding[:80]!r}; send plain JSON")  # type: ignore[index]
    try:
        outer = _outer.decode(without_lone_surrogates(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    if outer.run_id is UNSET and not isinstance(outer.kwargs, UnsetType):
        return bytes(outer.kwargs)
    return body


def history(headers: Mapping[str, Any], queue: str, now: float, *, redelivered: bool) -> History:
    """The history in the headers. Quorum queues count the returns themselves; other queues only set a flag."""
    counted = _number(headers.get("x-delivery-count"))
    return History(
        queue=queue,
        first_seen=_number(headers.get(f"{PREFIX}first-seen")) or int(now),
        attempts=_number(headers.get(f"{PREFIX}attempts")),
        defects=_number(headers.get(f"{PREFIX}defects")),
        returns=_number(headers.get(f"{PREFIX}returns")) + (counted or int(redelivered)),
    )


def on_return(
    known: History, headers: Mapping[str, Any], delays: Sequence[int], draw: Draw, *, redelivered: bool
) -> Verdict | None:
    """What to do with a message that has come back without an answer, before it is tried again; None to try it.

    The message itself may have ended the process. So its returns are counted before it is tried. Where the broker does
    not count them, the message is delayed with the count in its headers. Over MAX_RETURNS it is a dead letter.
    """
    error = Internal(
        f"the consumer ended or lost its connection with this message in flight, {known.returns} times;"
        " see the consumer's log of that time"
    )
    if known.returns > MAX_RETURNS:
        return DeadLetter(known, error)
    if not redelivered or _number(headers.get("x-delivery-count")):
        return None
    return Delay(_pause(delays, known.returns - 1, 0, draw), known, error)


def on_error(error: OrchestratorError, known: History, delays: Sequence[int], draw: Draw) -> Verdict:
    """What to do with a message that was not accepted: as the error table says, given the history."""
    row = TABLE[error.code].amqp
    later = msgspec.structs.replace(known, attempts=known.attempts + 1)
    if row == "delay-then-dead-letter":
        later = msgspec.structs.replace(later, defects=known.defects + 1)
    if row in ("dead-letter", "-") or later.defects > MAX_DEFECTS:
        return DeadLetter(later, error)
    return Delay(_pause(delays, known.attempts, error.retry_after or 0, draw), later, error)


def _pause(delays: Sequence[int], tried: int, at_least: int, draw: Draw) -> int:
    """One of two neighbouring delays, so that messages which failed together return apart; longer with each try."""
    last = len(delays) - 1
    first = min(tried, last)
    while first < last and delays[first] < at_least:
        first += 1
    return draw(delays[first : first + 2])


def outgoing(verdict: Verdict, received: Basic.Properties, max_bytes: int) -> Basic.Properties:
    """The properties for publishing the unchanged body again, persistent.

    Left out: an expiry, after which the broker would drop the message; the user id, which the broker compares with this
    connection's user; and the headers that the broker itself added. If all headers take more
    than `max_bytes` (one frame), or the sender's cannot be encoded again, the sender's are left out too.
    """
    own: dict[str, Any] = {**verdict.history.headers(), **_explanation(verdict)}
    senders = {name: value for name, value in (received.headers or {}).items() if _repeated(name)}
    properties = _properties(received, {**senders, **own})
    if not _fits(properties, max_bytes):
        properties = _properties(received, {**own, f"{PREFIX}headers": "the sender's did not fit and were left out"})
    return properties


def _explanation(verdict: Verdict) -> dict[str, Any]:
    error = verdict.error
    headers = {f"{PREFIX}code": error.code, f"{PREFIX}detail": error.detail[:_MAX_DETAIL]}
    if isinstance(verdict, Delay):
        return {**headers, DELAY_HEADER: verdict.seconds}
    errors = [
        {"pointer": problem.pointer[:_MAX_DETAIL], "message": problem.message[:_MAX_DETAIL]}
        for problem in error.problems[:_MAX_PROBLEMS]
    ]
    return {**headers, f"{PREFIX}errors": errors} if errors else headers


def _properties(received: Basic.Properties, headers: dict[str, Any]) -> Basic.Properties:
    return Basic.Properties(
        content_type=received.content_type,
        content_encoding=received.content_encoding,
        headers=headers,
        delivery_mode=2,
        priority=received.priority,
        correlation_id=received.correlation_id,
        reply_to=received.reply_to,
        message_id=received.message_id,
        timestamp=received.timestamp,
        message_type=received.message_type,
        app_id=received.app_id,
    )


def _repeated(name: str) -> bool:
    return name not in _NOT_REPEATED and not name.startswith((PREFIX, *_BROKERS))


def _fits(properties: Basic.Properties, max_bytes: int) -> bool:
    try:
        return len(ContentHeader(properties=properties).marshal()) <= max_bytes
    except Exception:  # pamqp raises exceptions of many kinds; the answer is the same
        return False


def trace_id(properties: Basic.Properties) -> str:
    """The request id for the logs: the message's own where it is usable, else a new one."""
    for given in (properties.message_id, properties.correlation_id):
        if isinstance(given, str) and _REQUEST_ID.match(given):
            return given
    return uuid.uuid4().hex


def _number(value: Any) -> int:
    """A header's count; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0
