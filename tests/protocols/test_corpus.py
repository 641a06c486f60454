"""Every protocol answers the corpus with the same jobs, the same error codes and the same bad fields."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import TABLE
from tests.protocols.conftest import Clients, NotExpressible, Outcome
from tests.protocols.corpus import ANALYSIS, BAD, CANCEL, GOOD, Case

PROTOCOLS = ["http", "grpc", "amqp"]
HTTP_ONLY = {"unsupported_media_type"}  # other protocols have no media type


def named(document: dict[str, Any], run: str) -> dict[str, Any]:
    """The document under another run's id."""
    renamed = document | {"run_id": run}
    if "analysis_meta" in document:
        renamed["analysis_meta"] = document["analysis_meta"] | {"run_id": run}
    return renamed


def expected(case: Case, run: str, state: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((job.format(run=run), state or then) for job, then in case.jobs)


@pytest.mark.parametrize("case", GOOD, ids=repr)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_good_request_makes_its_jobs(clients: Clients, protocol: str, case: Case, run: str) -> None:
    assert clients[protocol].send(case.request_type, named(case.document, run)) == Outcome(jobs=expected(case, run))


@pytest.mark.parametrize("case", GOOD, ids=repr)
def test_a_job_that_one_protocol_created_exists_for_every_other(clients: Clients, case: Case, run: str) -> None:
    """If a protocol lost or changed a field, the fingerprints would differ, which is a conflict."""
    sent = [
        client.send(case.request_type, named(case.document, run)) for client in (*clients.values(), *clients.values())
    ]
    cancelled = case.request_type == "cancel_check_run"
    assert sent == [
        Outcome(jobs=expected(case, run)),
        *[Outcome(jobs=expected(case, run, "cancelled" if cancelled else "exists"))] * (len(sent) - 1),
    ]


@pytest.mark.parametrize("case", BAD, ids=repr)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_request_is_refused_with_all_its_bad_fields(clients: Clients, protocol: str, case: Case) -> None:
    try:
        outcome = clients[protocol].send(case.request_type, case.document)
    except NotExpressible:
        assert case.json_only
        return
    assert outcome == Outcome(code=case.code, fields=frozenset(case.fields))


@pytest.mark.parametrize("code", [code for code in TABLE if code not in HTTP_ONLY])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_answers_with_the_runner_s_error_code(
    clients: Clients, protocol: str, code: str, run: str
) -> None:
    outcome = clients[protocol].send("analysis_run", named(ANALYSIS, f"raise-{code}-{run[:8]}"))
    assert outcome.code == code
    assert (outcome.retry_after is not None) == (code in {"busy", "unavailable", "timeout", "internal"})
    assert outcome.fields == ({"run_id"} if code == "invalid" else set())


@pytest.mark.parametrize("second", PROTOCOLS)
@pytest.mark.parametrize("first", PROTOCOLS)
def test_another_request_of_the_same_name_is_a_conflict_by_any_protocol(
    clients: Clients, first: str, second: str, run: str
) -> None:
    document = named(ANALYSIS, run)
    other = document | {"vcs_meta": document["vcs_meta"] | {"checkout_oid": "0" * 40}}
    clients[first].send("analysis_run", document)
    assert clients[second].send("analysis_run", other).code == "conflict"


@pytest.mark.parametrize("second", PROTOCOLS)
@pytest.mark.parametrize("first", PROTOCOLS)
def test_a_check_cancelled_by_one_protocol_stays_cancelled_for_the_other(
    clients: Clients, first: str, second: str, run: str
) -> None:
    clients[first].send("cancel_check_run", named(CANCEL, run))
    assert clients[second].send("analysis_run", named(ANALYSIS, run)).jobs == ((f"analysis-s0-{run}-1", "cancelled"),)
