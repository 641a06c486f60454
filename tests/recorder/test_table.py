"""The table counts each kind of error, and only that kind."""

from __future__ import annotations

import pytest

from tests.recorder.clusters import Exit, RecordedJob
from tests.recorder.deliveries import Delivery
from tests.recorder.table import Asked, Table, rendered, table

ASKED = [Asked("a", 201, "job-a", (5107,)), Asked("b", 201, "job-b", ())]
JOBS = [RecordedJob("kubernetes", "ns", f"job-{run}", f"uid-{run}", "Failed/", 0, {"marvin": Exit(3)}) for run in "ab"]
RESULT = Delivery(at=1.0, path="/", status=200, id="1", run_id="a", code=5107)


def result(**changed: object) -> Delivery:
    values = {"at": 2.0, "path": "/", "status": 200, "id": "1", "run_id": "a", "code": 5107, **changed}
    return Delivery(**values)  # type: ignore[arg-type]


def test_one_result_for_each_failure_is_right() -> None:
    found = table(ASKED, JOBS, [RESULT])
    assert found == Table(asked=2, answered=2, jobs=2, ends=2, results=1)
    assert found.right


@pytest.mark.parametrize(
    ("deliveries", "field"),
    [
        ([], "missing"),
        ([result(status=500)], "missing"),
        ([result(status=0)], "missing"),
        ([RESULT, result(id="2")], "two_ids"),
        ([result(code=5199)], "wrong_code"),
        ([RESULT, result(run_id="b", id="2")], "unexpected"),
        ([RESULT, result(run_id="stranger", id="2")], "unexpected"),
        ([RESULT, Delivery(at=1.0, path="/", status=200, unreadable="{")], "unexpected"),
    ],
)
def test_each_error_has_its_column(deliveries: list[Delivery], field: str) -> None:
    found = table(ASKED, JOBS, deliveries)
    assert getattr(found, field) == 1
    assert not found.right
    assert found.problems


def test_a_result_that_comes_again_under_its_id_is_counted_and_allowed() -> None:
    found = table(ASKED, JOBS, [RESULT, result(), result(status=500)])
    assert (found.results, found.doubled, found.doubled_share) == (2, 1, 0.5)
    assert found.right


def test_a_result_that_is_optional_may_be_missing_but_not_wrong() -> None:
    asked = [Asked("a", 201, "job-a", (5107,), optional=True)]
    assert table(asked, JOBS, []).right
    assert not table(asked, JOBS, [result(code=5000)]).right


def test_a_request_that_was_not_accepted_is_not_right_and_misses_no_result() -> None:
    found = table([Asked("a", 503, "busy", (5107,))], [], [])
    assert (found.answered, found.missing) == (0, 0)
    assert not found.right


def test_nothing_asked_proves_nothing() -> None:
    assert not table([], [], []).right


def test_a_job_that_still_runs_is_named() -> None:
    running = RecordedJob("nomad", "ns", "job-a", "1", "", 1, {})
    found = table(ASKED[:1], [running], [RESULT])
    assert (found.jobs, found.ends, found.running) == (1, 0, 1)
    assert not found.right
    assert "running: job-a" in found.problems


def test_the_text_has_a_line_for_each_scenario_and_names_what_is_wrong() -> None:
    lines = rendered({"kills": table(ASKED, JOBS, []), "replicas": table(ASKED, JOBS, [RESULT])}).splitlines()
    assert lines[0].split()[:4] == ["scenario", "asked", "2xx", "jobs"]
    assert lines[1].split()[:8] == ["kills", "2", "2", "2", "2", "0", "0", "1"]
    assert lines[3].strip() == "kills: missing: a"
