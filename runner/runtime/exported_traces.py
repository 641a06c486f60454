"""Traces by OpenTelemetry, sent in batches to a collector by OTLP over HTTP. The only module that imports the library.

The library's own thread sends; a command never waits for the collector. Spans are dropped if the collector does not
keep up or is away: a trace is worth less than a job. OpenTelemetry's own variables set what has no key of ours:
sampling (OTEL_TRACES_SAMPLER), the collector's credentials (OTEL_EXPORTER_OTLP_HEADERS), its CA, the batches.
"""

from __future__ import annotations

import logging

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runner import __version__
from runner.runtime.clock import Clock, Deadline
from runner.runtime.concurrency import start_thread
from runner.runtime.traces import NONE, Attributes, Kind, TraceSpan

log = logging.getLogger("orchestrator.traces")

REQUEST_SECONDS = 3
"""For one request to the collector, its repetitions included."""

CLOSE_SECONDS = 4.0
"""For the last requests, when the process ends."""

_PATH = "/v1/traces"
_KINDS: dict[Kind, trace.SpanKind] = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
_propagator = TraceContextTextMapPropagator()


class ExportedSpan:
    """A span of the library."""

    def __init__(self, span: trace.Span, clock: Clock) -> None:
        self._span = span
        self._clock = clock
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
        self.traceparent = carrier.get("traceparent", "")  # none of a library that OTEL_SDK_DISABLED has turned off

    def __repr__(self) -> str:
        return f"ExportedSpan({self.traceparent})"

    def end(self, failure: str = "", attributes: Attributes = NONE, *, ended: float | None = None) -> None:
        """See TraceSpan."""
        self._span.set_attributes(_named(attributes))
        if failure:
            self._span.set_status(trace.StatusCode.ERROR, failure)
        self._span.end(_nanoseconds(self._clock.wall() if ended is None else ended))


class ExportingTracer:
    """See Tracer. `endpoint` is the collector's URL without the path. Starts a thread, so it belongs after the fork."""

    def __init__(self, endpoint: str, clock: Clock) -> None:
        self._endpoint = endpoint
        self._clock = clock
        resource = Resource.create({"service.name": "orchestrator", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint.rstrip("/").removesuffix(_PATH) + _PATH, timeout=REQUEST_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("orchestrator", __version__)

    def __repr__(self) -> str:
        return f"ExportingTracer({self._endpoint!r})"

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
        span = self._tracer.start_span(
            name,
            context=_propagator.extract({"traceparent": parent}, Context()),
            kind=_KINDS[kind],
            attributes=_named(attributes),
            start_time=_nanoseconds(self._clock.wall() if began is None else began),
        )
        return ExportedSpan(span, self._clock)

    def close(self) -> None:
        """See Tracer."""
        try:
            start_thread(self._provider.shutdown)(Deadline.after(CLOSE_SECONDS, self._clock))
        except TimeoutError:
            log.warning("not all spans were sent: %s did not accept them in time; see its log", self._endpoint)


def _named(attributes: Attributes) -> dict[str, str | int | float]:
    """With our prefix, so that they collide with no other program's. Empty ones are left out."""
    return {f"orchestrator.{name}": value for name, value in attributes.items() if value != ""}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
