"""runner.request_types: the one table, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runner import commands
from runner.config.types import Config
from runner.errors import Invalid
from runner.jobs import Report
from runner.observation import Observation
from runner.outcomes import classify
from runner.payloads import Request
from runner.request_types import REQUEST_TYPES, RequestType, by_spelling, of_payload, roles
from runner.tracker.results import results

ROWS = tuple(REQUEST_TYPES.values())
UNIQUE: dict[str, Callable[[RequestType], tuple[Any, ...]]] = {
    "spellings": lambda row: row.spellings,
    "short names": lambda row: row.short_names,
    "paths": lambda row: row.paths,
    "payload": lambda row: (row.payload,),
    "rpc": lambda row: (row.rpc,),
    "plan": lambda row: (row.plan,),
    "role": lambda row: (row.role,) if row.role else (),
    "result path": lambda row: (row.result_path,),
}


@pytest.mark.parametrize("what", UNIQUE)
def test_no_two_rows_share(what: str) -> None:
    every = [each for row in ROWS for each in UNIQUE[what](row)]
    assert len(every) == len(set(every))


def test_a_row_is_found_by_name_spelling_and_payload() -> None:
    for name, row in REQUEST_TYPES.items():
        assert row.name == name
        assert of_payload(row.payload) is row
        assert all(by_spelling()[spelling] is row for spelling in row.spellings)


def test_the_first_short_name_is_what_the_path_says() -> None:
    assert [row.short_names[0] for row in ROWS] == [
        "analysis",
        "autofix",
        "transformer",
        "ssh-verify",
        "cancel-check",
        "commit",
    ]


def test_pods_have_the_roles_of_the_wire_contract_and_the_one_of_a_tried_key() -> None:
    assert set(roles()) == {"analysis", "autofix", "transformer", "patcher", "ssh-verify"}


def test_a_payload_without_a_row_says_what_is_missing() -> None:
    class Unlisted(Request, frozen=True):
        pass

    with pytest.raises(LookupError, match="Unlisted is the payload of no request type; add a row"):
        of_payload(Unlisted)


def test_every_plan_is_there_and_one_that_is_not_is_found_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    commands.preload()
    broken = msgspec.structs.replace(ROWS[0], plan="runner.commands.analysis_run:plans")
    monkeypatch.setitem(REQUEST_TYPES, broken.name, broken)
    with pytest.raises(AttributeError, match="plans"):
        commands.preload()


def test_a_queue_of_no_request_type_is_refused_with_all_that_there_are(make_config: Callable[..., Config]) -> None:
    with pytest.raises(Invalid) as caught:
        make_config(rabbitmq={"queues": {"analysis": {"queue": "q"}}})
    (problem,) = caught.value.problems
    assert problem.pointer == "/rabbitmq/queues/analysis"
    assert problem.message == f"must be a request type: {', '.join(by_spelling())}"


def test_a_failure_of_a_newer_release_s_request_type_is_reported_with_what_all_reports_have() -> None:
    report = Report(request_type="later_run", run_id="r-1", path="/p", task="t", scope="s")
    seen = Observation(name="n", driver="d", pool="p", phase="failed", created=1, ended=2, report=report, main_exit=3)
    outcome = classify(seen)
    assert outcome is not None
    (sent,) = results(seen, outcome)
    assert sent.body["kwargs"].keys() == {"run_id", "status"}
