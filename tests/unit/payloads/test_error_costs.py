"""No request makes an error that costs much: its size, memory and work are bounded by the request's own size."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import msgspec
import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from functions.amqp.messages import DeadLetter, History, outgoing, payload
from functions.grpc.errors import trailers
from runner.config.reading import MAX_PROBLEM_BYTES, MAX_PROBLEMS, MAX_QUOTED
from runner.errors import MAX_DETAIL, Internal, Invalid, OrchestratorError, Problem
from runner.payloads import decode
from runner.request_types import REQUEST_TYPES
from tests.unit.documents import OPEN, put, whole
from tests.unit.payloads.hostile import inputs

SIZE = 12_000
"""Bytes of each input. A quadratic answer would have megabytes."""

MAX_ANSWER = 64 * 1024
MAX_FRAME = 128 * 1024
"""Bytes of all headers of a message: RabbitMQ's frame_max."""

MAX_TRAILERS = 8 * 1024
"""Bytes. Clients refuse longer ones by default (grpcio, Java)."""

MEMORY_RATIO = 45
"""Bytes held at once for each byte of a body. An empty object takes two bytes there, and about a hundred in memory."""

CALLS_RATIO = 4
"""Calls of Python functions for each byte of a body."""


def refused(request_type: str, body: bytes) -> OrchestratorError | None:
    """As HTTP and RabbitMQ read it."""
    try:
        decode(payload(body, None), REQUEST_TYPES[request_type].payload, OPEN)
    except OrchestratorError as error:
        return error
    return None


def problems_of(request_type: str, document: Any) -> list[tuple[str, str]]:
    error = refused(request_type, msgspec.json.encode(document))
    return [(problem.pointer, problem.message) for problem in error.problems] if error else []


def answer(error: OrchestratorError) -> bytes:
    return msgspec.json.encode({"detail": error.detail, "errors": error.problems})


def message(error: OrchestratorError) -> bytes:
    verdict = DeadLetter(History(queue="q", first_seen=1), error)
    encoded: bytes = ContentHeader(properties=outgoing(verdict, Basic.Properties(), MAX_FRAME)).marshal()
    return encoded


def test_there_are_inputs_for_every_field() -> None:
    assert len({(name, what) for name, what, _ in inputs(400)}) > 3000


def test_no_error_s_answer_is_over_its_bound_on_any_protocol() -> None:
    for name, what, body in inputs(SIZE):
        if error := refused(name, body):
            assert len(answer(error)) <= MAX_ANSWER - 1024, (name, what)  # the rest of an answer is short
            assert len(message(error)) <= MAX_FRAME, (name, what)
            assert sum(len(value) for _, value in trailers(error, "id")) <= MAX_TRAILERS, (name, what)


def test_no_input_takes_more_memory_than_some_times_its_size() -> None:
    for name, what, body in inputs(SIZE, each_type_once=True):
        refused(name, body)  # decoders are made once
        tracemalloc.start()
        error = refused(name, body)
        written = error and (answer(error), message(error))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= MEMORY_RATIO * len(body) + 4 * MAX_ANSWER, (name, what, peak / len(body))
        del written


@pytest.mark.parametrize("size", [24_000, 404_000])
def test_one_long_key_costs_the_same_for_each_byte_whatever_the_size(size: int) -> None:
    body = msgspec.json.encode({"artifacts": {"patch_ids": {"K" * (size // 4): [[]] * (size // 4)}}})
    refused("patcher_run", body)
    tracemalloc.start()
    error = refused("patcher_run", body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error is not None
    assert len(answer(error)) <= MAX_ANSWER
    assert peak <= 20 * len(body) + 4 * MAX_ANSWER


def test_the_work_for_an_error_is_proportional_to_the_input() -> None:
    for name, what, body in inputs(SIZE // 4):
        assert _calls(name, body) <= CALLS_RATIO * len(body) + 20_000, (name, what)


def _calls(request_type: str, body: bytes) -> int:
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        refused(request_type, body)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("place", "length", "message"),
    [
        ("/_meta", 256, "a key of at most 256 characters"),
        ("/artifacts/patch_ids", 4096, "a path of at most 4096 characters"),
    ],
)
def test_a_key_may_be_so_long_and_not_one_character_more(place: str, length: int, message: str) -> None:
    value: Any = "" if place == "/_meta" else []
    assert not problems_of("patcher_run", put(whole("patcher_run"), place, {"é" * length: value}))
    ((pointer, text),) = problems_of("patcher_run", put(whole("patcher_run"), place, {"é" * (length + 1): value}))
    assert text == f"must be {message}"
    assert pointer == f"{place}/{'é' * (MAX_QUOTED - 1)}…"


def test_a_key_that_fits_is_quoted_whole() -> None:
    document = put(whole("patcher_run"), "/_meta", {"k" * MAX_QUOTED: 5})
    assert [pointer for pointer, _ in problems_of("patcher_run", document)] == [f"/_meta/{'k' * MAX_QUOTED}"]


def test_of_many_problems_as_many_are_reported_as_fit_and_rules_count_like_types() -> None:
    config = {"exclude_patterns": [5] * 5000, "test_patterns": [5] * 5000}
    error = refused("analysis_run", msgspec.json.encode({**whole("analysis_run"), "config": config}))
    assert error is not None
    assert 500 < len(error.problems) <= MAX_PROBLEMS
    assert len(msgspec.json.encode(error.problems)) <= MAX_PROBLEM_BYTES


class TestDetail:
    @pytest.mark.parametrize("length", [MAX_DETAIL - 1, MAX_DETAIL])
    def test_one_that_fits_is_kept(self, length: int) -> None:
        assert Internal("x" * length).detail == "x" * length

    def test_a_longer_one_is_cut_wherever_it_comes_from(self) -> None:
        for error in (Internal("x" * 10**6), Invalid([Problem(f"/{'y' * 10**6}", "is wrong")])):
            assert len(error.detail) == MAX_DETAIL
            assert str(error) == error.detail
            assert error.detail.endswith("…")

    def test_it_is_masked_before_it_is_cut(self) -> None:
        url = f"https://user:{'s' * 50}@git.example/a.git"
        error = Internal("x" * (MAX_DETAIL - 40) + url + "y" * 100)
        assert "sss" not in error.detail
