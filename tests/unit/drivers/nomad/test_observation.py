"""Nomad jobs and allocations as Observations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.drivers.nomad.allocations.waiting import overdue, shortage
from runner.drivers.nomad.objects import Allocation, Counts, Evaluation, JobStub, Summary
from runner.drivers.nomad.observation import (
    Evidence,
    log_task,
    observation,
    without_job,
)
from runner.drivers.nomad.specification import specification
from runner.drivers.nomad.variable import Ended, JobVariable, with_cancellation
from runner.outcomes import classify
from tests.conformance.jobs import Program, cancellation, job

SUBMITTED = 1_000.0


def stub(status: str = "dead", *, stop: bool = False, running: int = 0, starting: int = 0) -> JobStub:
    meta = specification(job("shell", init=Program()), Config())["Meta"]
    summary = {"Summary": {"job": {"Running": running, "Starting": starting}}}
    shown = {"ID": "a", "Meta": meta, "Status": status, "Stop": stop, "SubmitTime": int(SUBMITTED * 1e9)}
    return msgspec.convert({**shown, "JobSummary": summary}, JobStub)


def event(kind: str, message: str = "", **details: str) -> dict[str, Any]:
    return {"Type": kind, "DisplayMessage": message, "Details": details, "Time": 2_000_000_000_000}


def terminated(code: int, *, oom: str = "false") -> dict[str, Any]:
    return event("Terminated", f"Exit Code: {code}", exit_code=str(code), oom_killed=oom)


def allocation(status: str, coat: list[dict[str, Any]], marvin: list[dict[str, Any]], **more: Any) -> Allocation:
    states = {
        name: {
            "State": "dead",
            "Failed": any("fails_task" in (each["Details"] or {}) for each in events),
            "Events": events,
        }
        for name, events in (("marvin", marvin), ("coat", coat))
    }
    return msgspec.convert({"ID": "x", "ClientStatus": status, "TaskStates": states, **more}, Allocation)


CLONED = [event("Started"), terminated(0)]
VARIABLE = JobVariable(fingerprint="f1", open=True, modified=SUBMITTED)
PULL = "Failed to pull `no/such:image`: connection refused"
LAUNCH = "failed to launch command: no such file"

# The allocation that Nomad returns, by the reason of the outcome.
ENDS: dict[str, Allocation] = {
    "succeeded": allocation("complete", CLONED, [event("Started"), terminated(0)]),
    "clone_failed": allocation("failed", [event("Started"), terminated(4)], []),
    "analyzer_failed": allocation("failed", CLONED, [event("Started"), terminated(3)]),
    "out_of_memory": allocation("failed", CLONED, [event("Started"), terminated(137, oom="true")]),
    "image_unavailable": allocation("failed", [event("Driver Failure", PULL)], []),
    "misconfigured": allocation("failed", CLONED, [event("Driver Failure", LAUNCH)]),
    "disrupted": allocation("lost", CLONED, [event("Started")]),
}


@pytest.mark.parametrize(("reason", "last"), ENDS.items())
def test_every_end_has_its_reason(reason: str, last: Allocation) -> None:
    outcome = classify(observation(Evidence(stub(), VARIABLE, [last]), "nomad"))
    assert outcome is not None
    assert outcome.reason == reason


@pytest.mark.parametrize("how", [{"DesiredTransition": {"Migrate": True}}, {"PreemptedByAllocation": "other"}])
def test_a_drained_node_and_a_more_important_job_are_disruptions(how: dict[str, Any]) -> None:
    last = allocation("complete", CLONED, [event("Started"), event("Killing"), terminated(143)], **how)
    outcome = classify(observation(Evidence(stub(), VARIABLE, [last]), "nomad"))
    assert outcome is not None
    assert outcome.reason == "disrupted"


def test_a_template_that_could_not_be_rendered_is_a_configuration_error() -> None:
    failed = event("Killing", "Template failed: map has no entry for key", fails_task="true")
    seen = observation(Evidence(stub(), VARIABLE, [allocation("failed", [failed], [])]), "nomad")
    assert seen.configuration_error.startswith("Template failed")


def test_a_main_task_that_could_not_start_explains_the_failure_although_the_init_task_was_near_its_limit() -> None:
    last = allocation("failed", [event("Started"), terminated(0, oom="true")], [event("Driver Failure", LAUNCH)])
    assert last.task_states is not None
    last.task_states["marvin"] = msgspec.structs.replace(last.task_states["marvin"], failed=True)
    seen = observation(Evidence(stub(), VARIABLE, [last]), "nomad")
    outcome = classify(seen)
    assert outcome is not None
    assert (outcome.reason, seen.container) == ("misconfigured", "marvin")


def test_an_end_without_any_allocation_left_is_a_failure() -> None:
    assert observation(Evidence(stub(), VARIABLE), "nomad").phase == "failed"


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (with_cancellation(VARIABLE, cancellation("a")), "cancelled"),
        (msgspec.structs.replace(VARIABLE, ended=Ended(timed_out=True)), "timed_out"),
        (msgspec.structs.replace(VARIABLE, ended=Ended(unschedulable="no capacity")), "unschedulable"),
        (VARIABLE, "deleted"),
    ],
)
def test_the_reason_of_a_stopped_job_depends_on_what_stopped_it(variable: JobVariable, reason: str) -> None:
    killed = allocation("complete", CLONED, [event("Started"), event("Killing"), terminated(143)])
    outcome = classify(observation(Evidence(stub(stop=True), variable, [killed]), "nomad"))
    assert outcome is not None
    assert outcome.reason == reason


def test_a_stopped_job_that_still_runs_has_not_ended() -> None:
    running = allocation("running", CLONED, [event("Started")])
    variable = with_cancellation(VARIABLE, cancellation("a"))
    seen = observation(Evidence(stub(stop=True), variable, [running]), "nomad")
    assert (seen.phase, seen.ended, seen.cancelled) == ("running", None, True)


@pytest.mark.parametrize(("running", "phase"), [(0, "waiting"), (1, "running")])
def test_a_live_job_waits_or_runs(running: int, phase: str) -> None:
    assert observation(Evidence(stub("running", running=running), VARIABLE), "nomad").phase == phase


def test_of_several_allocations_the_latest_counts() -> None:
    seen = observation(Evidence(stub(), VARIABLE, [ENDS["disrupted"], ENDS["succeeded"]]), "nomad")
    assert seen.phase == "succeeded"


@pytest.mark.parametrize(
    ("age", "lost", "expected"),
    [
        (60, 0, None),
        (61, 0, "unschedulable"),
        (61, 1, None),
        (180, 1, None),
        (181, 1, "timed_out"),
        (181, 0, "unschedulable"),
    ],
)
@pytest.mark.parametrize("running", [0, 1])
def test_a_job_is_overdue_by_its_own_deadlines(age: int, lost: int, expected: str | None, running: int) -> None:
    """Whether what runs is the job's own, a stub does not show."""
    shown = stub("running", running=running)
    if lost:
        shown = msgspec.structs.replace(shown, job_summary=Summary({"job": Counts(lost=1)}))
    ended = overdue(shown, SUBMITTED + age)
    text = None if ended is None else "timed_out" if ended.timed_out else "unschedulable"
    assert text == expected


def test_a_job_whose_node_was_lost_may_wait_for_another_until_its_whole_time_is_up() -> None:
    shown = msgspec.structs.replace(stub("pending"), job_summary=Summary({"job": Counts(lost=1)}))
    assert overdue(shown, SUBMITTED + 61) is None
    assert overdue(shown, SUBMITTED + 181) == Ended(timed_out=True)
    variable = msgspec.structs.replace(VARIABLE, ended=Ended(timed_out=True))
    outcome = classify(observation(Evidence(stub(stop=True), variable, [ENDS["disrupted"]]), "nomad"))
    assert outcome is not None
    assert outcome.reason == "disrupted"


def test_an_ended_job_is_never_overdue() -> None:
    assert overdue(stub("dead"), SUBMITTED + 10_000) is None


def test_shortage_is_a_sentence_with_the_counts() -> None:
    metric = {"NodesEvaluated": 2, "DimensionExhausted": {"memory": 2}, "ConstraintFiltered": {"${attr.x} = y": 1}}
    text = shortage([msgspec.convert({"FailedTGAllocs": {"job": metric}}, Evaluation)])
    assert text == "no node takes it: 2 nodes evaluated, constraint ${attr.x} = y filtered 1, memory exhausted on 2"
    assert shortage([Evaluation()]) == ""


def test_a_removed_job_is_gone_and_a_cancelled_name_is_cancelled() -> None:
    assert without_job("a", VARIABLE, "nomad").phase == "gone"
    assert without_job("a", with_cancellation(None, cancellation("a")), "nomad").cancelled


def test_the_container_that_explains_the_end_and_the_one_whose_log_is_read_first() -> None:
    meta = stub().meta or {}
    assert observation(Evidence(stub(), VARIABLE, [ENDS["clone_failed"]]), "nomad").container == "coat"
    assert observation(Evidence(stub(), VARIABLE, [ENDS["succeeded"]]), "nomad").container == ""
    assert log_task(meta, ENDS["clone_failed"]) == "coat"
    assert log_task(meta, ENDS["analyzer_failed"]) == "marvin"
