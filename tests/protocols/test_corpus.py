"""One corpus, every door: the same jobs, the same error codes, the same bad fields."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import TABLE
from tests.protocols.conftest import Door, Outcome, Unsayable
from tests.protocols.corpus import ANALYSIS, BAD, CANCEL, GOOD, Case

DOORS = ["http", "grpc", "amqp"]
NO_JSON_NEEDED = {"unsupported_media_type"}  # there is no media type to get wrong


def named(document: dict[str, Any], run: str) -> dict[str, Any]:
    """The document under another run's id."""
    renamed = document | {"run_id": run}
    if "analysis_meta" in document:
        renamed["analysis_meta"] = document["analysis_meta"] | {"run_id": run}
    return renamed


def expected(case: Case, run: str, state: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((job.format(run=run), state or then) for job, then in case.jobs)


@pytest.mark.parametrize("case", GOOD, ids=repr)
@pytest.mark.parametrize("door", DOORS)
def test_a_good_request_makes_its_jobs(doors: dict[str, Door], door: str, case: Case, run: str) -> None:
    assert doors[door].send(case.request_type, named(case.document, run)) == Outcome(jobs=expected(case, run))


@pytest.mark.parametrize("case", GOOD, ids=repr)
def test_what_one_door_has_taken_every_other_knows_as_the_same(doors: dict[str, Door], case: Case, run: str) -> None:
    """Were anything lost or changed on the way, the fingerprints would differ, and that is a conflict."""
    sent = [door.send(case.request_type, named(case.document, run)) for door in (*doors.values(), *doors.values())]
    cancelled = case.request_type == "cancel_check_run"
    assert sent == [
        Outcome(jobs=expected(case, run)),
        *[Outcome(jobs=expected(case, run, "cancelled" if cancelled else "exists"))] * (len(sent) - 1),
    ]


@pytest.mark.parametrize("case", BAD, ids=repr)
@pytest.mark.parametrize("door", DOORS)
def test_a_bad_request_is_refused_with_all_its_bad_fields(doors: dict[str, Door], door: str, case: Case) -> None:
    try:
        outcome = doors[door].send(case.request_type, case.document)
    except Unsayable:
        assert case.json_only
        return
    assert outcome == Outcome(code=case.code, fields=frozenset(case.fields))


@pytest.mark.parametrize("code", [code for code in TABLE if code not in NO_JSON_NEEDED])
@pytest.mark.parametrize("door", DOORS)
def test_whatever_the_runner_says_every_door_says(doors: dict[str, Door], door: str, code: str, run: str) -> None:
    outcome = doors[door].send("analysis_run", named(ANALYSIS, f"raise-{code}-{run[:8]}"))
    assert outcome.code == code
    assert (outcome.retry_after is not None) == (code in {"busy", "unavailable", "timeout", "internal"})
    assert outcome.fields == ({"run_id"} if code == "invalid" else set())


@pytest.mark.parametrize("second", DOORS)
@pytest.mark.parametrize("first", DOORS)
def test_another_request_of_the_same_name_is_a_conflict_by_any_door(
    doors: dict[str, Door], first: str, second: str, run: str
) -> None:
    document = named(ANALYSIS, run)
    other = document | {"vcs_meta": document["vcs_meta"] | {"checkout_oid": "0" * 40}}
    doors[first].send("analysis_run", document)
    assert doors[second].send("analysis_run", other).code == "conflict"


@pytest.mark.parametrize("second", DOORS)
@pytest.mark.parametrize("first", DOORS)
def test_a_check_cancelled_by_one_door_stays_cancelled_for_the_other(
    doors: dict[str, Door], first: str, second: str, run: str
) -> None:
    doors[first].send("cancel_check_run", named(CANCEL, run))
    assert doors[second].send("analysis_run", named(ANALYSIS, run)).jobs == ((f"analysis-s0-{run}-1", "cancelled"),)
