"""functions.amqp.messages and topology: what is decided about messages and queues, without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from functions.amqp.messages import (
    MAX_DEFECTS,
    MAX_RETURNS,
    DeadLetter,
    Delay,
    History,
    history,
    on_error,
    on_return,
    outgoing,
    payload,
    trace_id,
)
from functions.amqp.topology import ExchangeDeclaration, QueueDeclaration, queue_topology, retry_topology, sources
from runner.config.protocols import RabbitmqSection
from runner.errors import (
    BY_CODE,
    TABLE,
    Busy,
    Internal,
    Invalid,
    OrchestratorError,
    Problem,
    Requeue,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from runner.payloads import MAX_BODY

DELAYS = (1, 2, 5, 10, 30)
KNOWN = History(queue="q", first_seen=1_700_000_000)


def shortest(steps: Sequence[int]) -> int:
    return steps[0]


def longest(steps: Sequence[int]) -> int:
    return steps[-1]


def every_error() -> list[OrchestratorError]:
    return [*(kind("no") for kind in BY_CODE.values()), Invalid([Problem("/a", "is wrong")])]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.code)
def test_every_error_has_the_verdict_of_the_table(error: OrchestratorError) -> None:
    verdict = on_error(error, KNOWN, DELAYS, shortest)
    expected: dict[Requeue, type] = {
        "dead-letter": DeadLetter, "-": DeadLetter, "delay": Delay, "delay-then-dead-letter": Delay,
    }  # fmt: skip
    assert set(expected) == set(get_args(Requeue))
    assert isinstance(verdict, expected[TABLE[error.code].amqp])
    assert verdict.error is error
    assert verdict.history.attempts == 1


def test_delays_grow_to_the_longest_and_stay_there() -> None:
    known, waited = KNOWN, []
    for _ in range(8):
        verdict = on_error(Busy("no", retry_after=0), known, DELAYS, shortest)
        assert isinstance(verdict, Delay)
        known = verdict.history
        waited.append(verdict.seconds)
    assert waited == [1, 2, 5, 10, 30, 30, 30, 30]
    assert known.attempts == 8


def test_a_delay_is_drawn_from_two_neighbours() -> None:
    verdicts = [on_error(Busy("no", retry_after=0), KNOWN, DELAYS, draw) for draw in (shortest, longest)]
    assert [verdict.seconds for verdict in verdicts if isinstance(verdict, Delay)] == [1, 2]


@pytest.mark.parametrize(("retry_after", "seconds"), [(0, 1), (3, 5), (30, 30), (999, 30)])
def test_a_delay_is_no_shorter_than_retry_after_where_there_is_such_a_delay(retry_after: int, seconds: int) -> None:
    verdict = on_error(Unavailable("no", retry_after=retry_after), KNOWN, DELAYS, shortest)
    assert isinstance(verdict, Delay)
    assert verdict.seconds == seconds


def test_after_several_internal_errors_a_message_is_a_dead_letter() -> None:
    known = History(queue="q", first_seen=0, attempts=100)
    for _ in range(MAX_DEFECTS):
        verdict = on_error(Internal("no"), known, DELAYS, shortest)
        assert isinstance(verdict, Delay)
        known = verdict.history
    assert isinstance(on_error(Internal("no"), known, DELAYS, shortest), DeadLetter)
    assert isinstance(on_error(Busy("no"), History(queue="q", first_seen=0, defects=2), DELAYS, shortest), Delay)


def test_a_return_that_the_broker_does_not_count_is_counted_by_a_delay() -> None:
    known = history({}, "q", 0, redelivered=True)
    verdict = on_return(known, {}, DELAYS, shortest, redelivered=True)
    assert isinstance(verdict, Delay)
    headers = verdict.history.headers()
    afresh = history(headers, "q", 0, redelivered=False)
    assert afresh.returns == 1
    assert on_return(afresh, headers, DELAYS, shortest, redelivered=False) is None  # now it is tried
    assert history(headers, "q", 0, redelivered=True).returns == 2


def test_a_return_that_the_broker_counts_is_tried_at_once() -> None:
    headers = {"x-delivery-count": 3}
    known = history(headers, "q", 0, redelivered=True)
    assert known.returns == 3
    assert on_return(known, headers, DELAYS, shortest, redelivered=True) is None


@pytest.mark.parametrize(
    "headers", [{"x-delivery-count": MAX_RETURNS + 1}, {"x-orchestrator-returns": MAX_RETURNS + 1}]
)
def test_too_many_returns_are_a_dead_letter(headers: dict[str, Any]) -> None:
    known = history(headers, "q", 0, redelivered=True)
    assert isinstance(on_return(known, headers, DELAYS, shortest, redelivered=True), DeadLetter)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    ["x-orchestrator-attempts", "x-orchestrator-first-seen", "x-delivery-count", "CC", "x-death", "h"]
)


@given(st.dictionaries(names, anything, max_size=5), st.booleans())
def test_any_header_of_the_sender_is_tolerated(headers: dict[str, Any], redelivered: bool) -> None:
    known = history(headers, "q", 1.5, redelivered=redelivered)
    for verdict in (Delay(1, known, Busy("no")), DeadLetter(known, Invalid([Problem("/a", "is wrong")]))):
        properties = outgoing(verdict, Basic.Properties(headers=headers), 4096)
        assert len(ContentHeader(properties=properties).marshal()) <= 4096
        assert properties.headers["x-orchestrator-queue"] == "q"
        assert not {"CC", "x-death", "x-delivery-count"} & properties.headers.keys()


def test_properties_that_could_lose_the_message_are_not_repeated() -> None:
    received = Basic.Properties(expiration="1", user_id="atlas", delivery_mode=1, message_id="m", headers={"h": 1})
    properties = outgoing(DeadLetter(KNOWN, Busy("no")), received, 4096)
    assert (properties.expiration, properties.user_id, properties.delivery_mode) == (None, None, 2)
    assert (properties.message_id, properties.headers["h"]) == ("m", 1)


def test_an_error_with_very_many_problems_fits_a_frame() -> None:
    problems = [Problem(f"/{'x' * 500}/{number}", "is wrong " * 100) for number in range(1000)]
    properties = outgoing(DeadLetter(KNOWN, Invalid(problems)), Basic.Properties(), 131_064)
    assert len(properties.headers["x-orchestrator-errors"]) == 20
    assert len(ContentHeader(properties=properties).marshal()) < 65_536


GOOD = {"run_id": "r", "x": [1, {"kwargs": {}}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD, GOOD),
        ({"id": "1", "task": "t", "kwargs": GOOD, "retries": 0}, GOOD),
        ({"kwargs": GOOD}, GOOD),
        ({"id": "1", "task": "t", "args": [], "kwargs": GOOD, "retries": 3, "eta": None}, GOOD),
        (GOOD | {"kwargs": {"run_id": "other"}, "task": "t"}, GOOD | {"kwargs": {"run_id": "other"}, "task": "t"}),
        ({"id": "1", "task": "t"}, {"id": "1", "task": "t"}),
        ({"id": "1", "kwargs": None}, None),
        ([GOOD], [GOOD]),
        ("kwargs", "kwargs"),
    ],
)
def test_the_two_shapes_are_distinguished(body: Any, expected: Any) -> None:
    assert json.loads(payload(json.dumps(body).encode(), None)) == expected


def test_the_kwargs_of_an_envelope_are_not_re_encoded() -> None:
    assert payload(b'{"kwargs": {"a":1.0e2,  "b" :"\\u0041"}}', None) == b'{"a":1.0e2,  "b" :"\\u0041"}'


@given(st.binary(max_size=200))
def test_bytes_of_neither_shape_are_not_changed(body: bytes) -> None:
    assert payload(body, None) == body or b"kwargs" in body


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"kwargs":' * 5000, b'{"kwargs": {"a": "\xff"}}', b"\xff", b""])
def test_hostile_bytes_raise_nothing(body: bytes) -> None:
    payload(body, None)


def test_the_bound_holds_for_the_whole_message() -> None:
    with pytest.raises(TooLarge):
        payload(b" " * (MAX_BODY + 1), None)
    assert len(payload(b" " * MAX_BODY, None)) == MAX_BODY


def test_an_encoding_of_the_body_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip"):
        payload(b"{}", "gzip")
    assert payload(b"{}", "UTF-8") == b"{}"


@pytest.mark.parametrize(("given_id", "kept"), [("trace-1", True), ("a b", False), ("", False), ("x" * 129, False)])
def test_a_usable_message_id_is_the_trace_id(given_id: str, kept: bool) -> None:
    assert (trace_id(Basic.Properties(message_id=given_id)) == given_id) is kept


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_every_exchange_and_queue_that_is_referred_to_is_declared(queue_type: Any) -> None:
    section = RabbitmqSection(queue_type=queue_type)
    parts = [
        *retry_topology(section),
        *(part for source in sources(section) for part in queue_topology(section, source)),
    ]
    exchanges = {part.name for part in parts if isinstance(part, ExchangeDeclaration)}
    queues = {part.name: part for part in parts if isinstance(part, QueueDeclaration)}
    for queue in queues.values():
        assert {binding.exchange for binding in queue.bindings} <= exchanges
        assert queue.arguments.get("x-dead-letter-exchange", section.exchange) in exchanges
    for part in parts:
        if isinstance(part, ExchangeDeclaration) and part.arguments:
            assert part.arguments["alternate-exchange"] in exchanges
    assert {f"atlas-jobs.delay.{seconds}" for seconds in section.delays} <= queues.keys()
    back = {
        binding.key for queue in queues.values() for binding in queue.bindings if binding.exchange.endswith(".return")
    }
    assert back == {source.queue for source in sources(section)}


def test_classic_queues_are_declared_without_arguments() -> None:
    section = RabbitmqSection()
    assert [part.arguments for part in queue_topology(section, sources(section)[0])] == [{}, {}]


def test_by_default_each_request_type_has_its_queue_and_the_old_spelling_too() -> None:
    found = sources(RabbitmqSection())
    assert [(source.queue, source.key) for source in found] == [
        (name, name)
        for name in (
            "analysis_run", "autofix_run", "transformer_run", "ssh_verify_run", "cancel_check_run", "patcher_run",
            "transforer_run",
        )
    ]  # fmt: skip
    assert found[-1].request_type == "transformer_run"
