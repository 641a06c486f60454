"""runner.runtime.traces: which traceparent is passed on, and that nothing is changed where there is none."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runner.config.types import Config
from runner.drivers.kubernetes.manifest import TRACEPARENT, encode_report, job_manifest
from runner.drivers.nomad import specification as nomad
from runner.errors import Busy
from runner.jobs import JobSpec, Report
from runner.runtime.traces import NONE, Attributes, NoTracer, TraceSpan, spanned, traceparent
from tests.conformance.jobs import job

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = GIVEN[3:35], GIVEN[36:52]

HEX = st.text("0123456789abcdef", min_size=2, max_size=2)
PARTS = st.tuples(
    HEX | st.sampled_from(["00", "ff", "01", "0"]),
    st.sampled_from([TRACE, "0" * 32, TRACE.upper(), TRACE[1:]]),
    st.sampled_from([SPAN, "0" * 16, f"{SPAN}0"]),
    HEX | st.sampled_from(["00", "01", "g1"]),
)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (GIVEN, GIVEN),
        (f" {GIVEN}\t", GIVEN),
        (GIVEN.replace("-01", "-00"), GIVEN.replace("-01", "-00")),
        (f"cc{GIVEN[2:]}-what-a-later-version-adds", GIVEN),
        (f"cc{GIVEN[2:-2]}fe", f"{GIVEN[:-2]}00"),
    ],
)
def test_a_traceparent_is_passed_on_as_version_00_writes_it(given: str, passed: str) -> None:
    assert traceparent(given) == passed


@pytest.mark.parametrize(
    "given",
    [
        "", "x", f"{GIVEN}-more", f"ff{GIVEN[2:]}", GIVEN.upper(), GIVEN.replace(TRACE, "0" * 32),
        GIVEN.replace(SPAN, "0" * 16), f"{GIVEN},{GIVEN}", f"{GIVEN}\nx: y", f"{GIVEN}\n", f"cc{GIVEN[2:]}-{'x' * 999}",
        GIVEN.encode(), None, 5, ["a"],
    ],
)  # fmt: skip
def test_what_is_no_traceparent_begins_no_trace(given: object) -> None:
    assert traceparent(given) == ""


@given(PARTS, st.sampled_from(["", "-x"]))
def test_the_same_traceparents_are_valid_as_for_opentelemetry(parts: tuple[str, ...], more: str) -> None:
    given = "-".join(parts) + more
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": given})).get_span_context()
    assert bool(traceparent(given)) == theirs.is_valid
    if theirs.is_valid:
        assert traceparent(given)[:53] == f"00-{theirs.trace_id:032x}-{theirs.span_id:016x}-"
        assert int(traceparent(given)[53:], 16) & 1 == theirs.trace_flags & 1


def test_without_telemetry_a_span_is_its_parent() -> None:
    assert NoTracer().start("submit", GIVEN).traceparent == GIVEN
    assert NoTracer().start("submit", "").traceparent == ""


class Recording:
    """A tracer that notes how its spans ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Attributes]] = []
        self.traceparent = GIVEN

    def start(self, *given: object, **more: object) -> TraceSpan:
        return self

    def end(self, failure: str = "", attributes: Attributes = NONE, *, ended: float | None = None) -> None:
        self.ended.append((failure, dict(attributes)))

    def close(self) -> None:
        pass


def test_a_span_ends_as_its_request_does() -> None:
    tracer = Recording()

    def fail(error: Exception) -> None:
        raise error

    assert spanned(tracer, "create job", GIVEN, {}, lambda: "created") == "created"
    assert spanned(tracer, "cancel job", UNSET, {}, lambda: None) is None
    for error in (Busy("full"), KeyError("x")):
        with pytest.raises(type(error)):
            spanned(tracer, "create job", GIVEN, {}, partial(fail, error))
    assert tracer.ended == [
        ("", {"state": "created"}), ("", {"state": "none"}), ("busy", {"state": ""}), ("internal", {"state": ""}),
    ]  # fmt: skip
    assert spanned(NoTracer(), "create job", GIVEN, {}, lambda: "created") == "created"


def traced(given: str) -> JobSpec:
    made = job("shell")
    return msgspec.structs.replace(made, report=msgspec.structs.replace(made.report, traceparent=given))


class TestStored:
    def test_a_report_without_a_trace_is_written_as_before(self) -> None:
        report = Report(request_type="analysis_run", run_id="r", path="/p", task="t", scope="s")
        assert encode_report(report) == (
            '{"request_type":"analysis_run","run_id":"r","path":"/p","task":"t","scope":"s","check_seq":"",'
            '"analyzer":"","request_id":""}'
        )

    def test_on_kubernetes_it_is_an_annotation_and_no_part_of_the_pod(self, config: Config) -> None:
        made = job_manifest(traced(GIVEN), config, nonce="0a1b")
        assert made["metadata"]["annotations"][TRACEPARENT] == GIVEN
        assert GIVEN not in str(made["spec"])
        assert TRACEPARENT not in job_manifest(job("shell"), config, nonce="0a1b")["metadata"]["annotations"]

    def test_on_nomad_it_is_in_the_meta_and_in_no_task(self, config: Config) -> None:
        made = nomad.specification(traced(GIVEN), config)
        assert made["Meta"][nomad.TRACEPARENT] == GIVEN
        assert GIVEN not in str(made["TaskGroups"])
        assert nomad.TRACEPARENT not in nomad.specification(job("shell"), config)["Meta"]
