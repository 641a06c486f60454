"""A collector: receives spans by OTLP over HTTP, and decodes them with the protocol's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.processes import eventually
from tests.harness.scripted_server import ScriptedServer, scripted_server


class ReceivedSpan(msgspec.Struct, frozen=True):
    """One span. Ids are in hexadecimal; `parent` is empty for the first of a trace; times are in seconds since 1970."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failure: str
    began: float
    ended: float


class Collector:
    """What a server has received."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.url = server.url

    def spans(self) -> list[ReceivedSpan]:
        return [span for request in list(self.server.asked) for span in _spans(request.body)]

    def span(self, name: str, trace: str = "") -> ReceivedSpan:
        """Wait for it."""
        found: ReceivedSpan = eventually(
            lambda: next((each for each in self.spans() if each.name == name and trace in each.trace), None),
            f"the span {name} has arrived; there are {[each.name for each in self.spans()]}",
            40,
        )
        return found


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                    _attributes(span), span.status.message,
                    span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9,
                )  # fmt: skip


def _attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Run one."""
    with scripted_server() as server:
        yield Collector(server)
