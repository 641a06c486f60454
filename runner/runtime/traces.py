"""Traces: the context of a request, in the form of W3C Trace Context, and the spans that continue it.

One short text is all that has to travel: the `traceparent` of the request. It goes where the request id goes (frame,
report of the job, result), so no driver and no protocol has its own way to keep a trace.

Two shapes answer to `Tracer`. Without `telemetry.otlpEndpoint` it is `NoTracer`: a span is its parent's traceparent and
nothing else, so atlas gets back the very text that it sent, and no library is imported. With it,
`runner.runtime.exported_traces` makes spans by OpenTelemetry. Spans are made by the sidecar and the tracker only: they
read the configuration, and the functions, which do not, add little to a request's time. Nobody asks for a "current"
span: greenlets share a thread, and a job's end is seen by another process. So the parent is always an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Literal, Protocol, TypeVar

from msgspec import UnsetType

from runner.errors import OrchestratorError

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | int | float]
NONE: Attributes = {}
T = TypeVar("T")

_TRACEPARENT = re.compile(r"\A([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


def traceparent(given: object) -> str:
    """The traceparent that a caller gave, as version 00 writes it; empty if it is none (W3C Trace Context, 3.2).

    A caller that sends a bad one is not refused: its request begins a new trace.
    """
    match = _TRACEPARENT.match(given.strip(" \t")) if isinstance(given, str) and len(given) <= 512 else None
    if match is None:
        return ""
    version, trace, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return ""
    return f"00-{trace}-{span}-{flags if version == '00' else '01' if int(flags, 16) & 1 else '00'}"


class TraceSpan(Protocol):
    """One part of a trace."""

    traceparent: str
    """What this part passes on to the parts that it causes; empty where there is no trace."""

    def end(self, failure: str = "", attributes: Attributes = NONE, *, ended: float | None = None) -> None:
        """It is over, at `ended` (seconds since 1970) or now. `failure` is a code or a reason; empty after success."""


class Tracer(Protocol):
    """Makes spans. Any thread or greenlet may use it."""

    def start(
        self,
        name: str,
        parent: str,
        attributes: Attributes = NONE,
        *,
        kind: Kind = "internal",
        began: float | None = None,
    ) -> TraceSpan:
        """Begin a span below `parent`, a traceparent, or a new trace where that is empty.

        `name` is one of few; what differs from job to job is an attribute. `began` is in seconds since 1970; now if
        None. Attributes are sent to another server: names, ids and numbers, nothing from a request's content.
        """

    def close(self) -> None:
        """Send what has ended, within a few seconds. Nothing is sent after that."""


class _PassedOn:
    """A span that is its parent."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def end(self, failure: str = "", attributes: Attributes = NONE, *, ended: float | None = None) -> None:
        """See TraceSpan."""


class NoTracer:
    """Passes each parent on, and records nothing."""

    def __repr__(self) -> str:
        return "NoTracer()"

    def start(
        self,
        name: str,
        parent: str,
        attributes: Attributes = NONE,
        *,
        kind: Kind = "internal",
        began: float | None = None,
    ) -> TraceSpan:
        """See Tracer."""
        return _PassedOn(parent)

    def close(self) -> None:
        """See Tracer."""


def spanned(tracer: Tracer, name: str, parent: str | UnsetType, attributes: Attributes, request: Callable[[], T]) -> T:
    """A request to another server as a span, which fails as the request does. The answer is the attribute `state`."""
    if isinstance(tracer, NoTracer):
        return request()
    span = tracer.start(name, parent or "", attributes, kind="client")
    failure, state = "internal", ""
    try:
        answer = request()
        failure, state = "", str(answer or "none")
    except OrchestratorError as error:
        failure = error.code
        raise
    finally:
        span.end(failure, {"state": state})
    return answer


def can_export() -> bool:
    """Whether the packages are installed that an export needs. Imports none of them but their empty parents."""
    try:
        return all(find_spec(name) for name in _NEEDED)
    except ModuleNotFoundError:
        return False


_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
