"""runner.errors: one hierarchy, and one table for every protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runner.errors import BY_CODE, TABLE, Invalid, OrchestratorError, Problem, Row, revive

DESIGN = {
    "malformed": (400, "INVALID_ARGUMENT", "dead-letter"),
    "unauthenticated": (401, "UNAUTHENTICATED", "-"),
    "forbidden": (403, "PERMISSION_DENIED", "-"),
    "conflict": (409, "ALREADY_EXISTS", "dead-letter"),
    "too_large": (413, "RESOURCE_EXHAUSTED", "dead-letter"),
    "unsupported_media_type": (415, "-", "dead-letter"),
    "invalid": (422, "INVALID_ARGUMENT", "dead-letter"),
    "rejected": (422, "FAILED_PRECONDITION", "dead-letter"),
    "busy": (429, "RESOURCE_EXHAUSTED", "delay"),
    "unavailable": (503, "UNAVAILABLE", "delay"),
    "timeout": (504, "DEADLINE_EXCEEDED", "delay"),
    "internal": (500, "INTERNAL", "delay-then-dead-letter"),
}
"""The table of the design, by code: HTTP status, gRPC status, what is done with an AMQP message."""


def kinds(base: type[OrchestratorError] = OrchestratorError) -> Iterator[type[OrchestratorError]]:
    """The errors with a code of their own. A subclass without one has its base's code."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith(("runner.", "functions.")):
            if "code" in vars(kind):
                yield kind
            yield from kinds(kind)


def of(kind: type[OrchestratorError]) -> OrchestratorError:
    return Invalid([Problem("/a", "is b")]) if issubclass(kind, Invalid) else kind("it went wrong")


def test_the_table_is_as_designed() -> None:
    assert {code: (row.http, row.grpc, row.amqp) for code, row in TABLE.items()} == DESIGN


def test_every_error_has_one_row_and_every_row_one_error() -> None:
    codes = [kind.code for kind in kinds()]
    assert sorted(codes) == sorted(TABLE)


def test_every_row_has_a_title_of_its_own() -> None:
    titles = [row.title for row in TABLE.values()]
    assert all(isinstance(row, Row) for row in TABLE.values())
    assert all(titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.code)
def test_a_retryable_error_says_when_to_retry(kind: type[OrchestratorError]) -> None:
    retryable = TABLE[kind.code].amqp.startswith("delay")
    assert (of(kind).retry_after is not None) is retryable
    if retryable:
        assert 1 <= (of(kind).retry_after or 0) <= 30


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.code)
def test_every_error_can_be_sent_to_another_process(kind: type[OrchestratorError]) -> None:
    there = of(kind)
    here = revive(there.code, there.detail, there.retry_after, there.problems)
    assert type(here) is kind
    assert (here.code, here.detail, here.retry_after, here.problems) == (
        there.code,
        there.detail,
        there.retry_after,
        there.problems,
    )
    assert str(here) == there.detail


def test_a_retry_after_that_was_given_is_sent_too() -> None:
    for code, kind in BY_CODE.items():
        assert revive(code, "x", 17, ()).retry_after == kind("x", retry_after=17).retry_after == 17
    assert revive("busy", "x", 0, ()).retry_after == 0


def test_an_unknown_code_is_internal() -> None:
    error = revive("from-the-future", "it went wrong", None, ())
    assert (error.code, error.detail) == ("internal", "it went wrong")


def test_invalid_lists_every_problem_once_and_in_order() -> None:
    problems = [Problem("/b", "is x"), Problem("/a", "is y"), Problem("/b", "is x"), Problem("", "is z")]
    assert Invalid(problems).problems == (Problem("", "is z"), Problem("/a", "is y"), Problem("/b", "is x"))


@pytest.mark.parametrize(
    ("count", "detail"),
    [
        (0, ""),
        (1, "/0 is x"),
        (3, "/0 is x; /1 is x; /2 is x"),
        (4, "/0 is x; /1 is x; /2 is x; and 1 more"),
        (9, "/0 is x; /1 is x; /2 is x; and 6 more"),
    ],
)
def test_the_detail_of_invalid_names_the_first_problems_and_counts_the_rest(count: int, detail: str) -> None:
    assert Invalid([Problem(f"/{number}", "is x") for number in range(count)]).detail == detail


def test_a_problem_of_the_whole_document_is_named_by_a_slash() -> None:
    assert Invalid([Problem("", "must be an object")]).detail == "/ must be an object"
