"""What Nomad shows of a run, and its outcome. The allocations in recorded.json are from a real Nomad 1.11."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.drivers.nomad.allocations.task_ends import task_end
from runner.drivers.nomad.objects import Allocation, TaskState
from runner.drivers.nomad.observation import Evidence, observation, without_job
from runner.drivers.nomad.variable import Ended, JobVariable, with_cancellation, with_end, with_outcome
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance.jobs import cancellation
from tests.unit.drivers.nomad.test_observation import (
    CLONED,
    SUBMITTED,
    VARIABLE,
    allocation,
    event,
    stub,
    terminated,
)

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded.json").read_text())
STARTED = event("Started")
KILLING = event("Killing", "Sent interrupt. Waiting 30s before force killing")


def judged(
    last: Allocation, variable: JobVariable = VARIABLE, *, status: str = "dead", stop: bool = False
) -> Observation:
    return observation(
        Evidence(stub(status, stop=stop, running=1 if status == "running" else 0), variable, [last]), "nomad"
    )


def code(seen: Observation) -> int | None:
    outcome = classify(seen)
    return outcome.code if outcome else None


def injected(status: str, coat: Any, marvin: Any, *, state: str, failed: bool = False, events: Any = ()) -> Allocation:
    """An allocation with a task that somebody added to the job, listed before the job's own."""
    last = allocation(status, coat, marvin)
    proxy = msgspec.convert({"State": state, "Failed": failed, "Events": list(events)}, TaskState)
    return msgspec.structs.replace(last, task_states={"a-proxy": proxy, **(last.task_states or {})})


@pytest.mark.parametrize(
    ("label", "expected", "facts"),
    [
        ("refused", 5101, {"registry_error": True, "container": "marvin"}),
        ("missing", 5101, {"registry_error": False}),
        ("misnamed", 5101, {"registry_error": False}),
        ("program missing", 5108, {"image_error": "", "container": "marvin"}),
        ("not executable", 5108, {"image_error": ""}),
        ("raw sigkill", 5107, {"signal": 9, "main_exit": 137, "disrupted": False}),
        ("docker sigkill", 5107, {"signal": 0, "main_exit": 3}),
        ("oom", 5104, {"container": "marvin", "signal": 9}),
        ("init", 5103, {"container": "coat", "init_exit": 4, "main_exit": None}),
        ("secret", 5108, {"container": "marvin"}),
    ],
)
def test_what_a_real_nomad_showed(label: str, expected: int, facts: dict[str, Any]) -> None:
    seen = judged(msgspec.convert(RECORDED[label], Allocation))
    assert code(seen) == expected
    assert {name: getattr(seen, name) for name in facts} == facts


@pytest.mark.parametrize("label", RECORDED)
def test_a_run_has_ended_before_nomad_calls_its_job_dead(label: str) -> None:
    """The job's status and the allocation's follow the tasks' states by some tenths of a second."""
    last = msgspec.structs.replace(msgspec.convert(RECORDED[label], Allocation), client_status="running")
    early, late = judged(last, status="running"), judged(msgspec.convert(RECORDED[label], Allocation))
    assert code(early) == code(late) is not None


class TestTasksThatSomebodyAdded:
    def test_one_that_fails_after_the_success_changes_nothing(self) -> None:
        last = injected("failed", CLONED, [STARTED, terminated(0)], state="dead", failed=True, events=[terminated(1)])
        assert code(judged(last)) == 0

    def test_one_that_never_ends_keeps_no_run_open_and_lingers(self) -> None:
        for exit_code, expected in ((0, 0), (3, 5107)):
            last = injected("running", CLONED, [STARTED, terminated(exit_code)], state="running")
            seen = judged(last, status="running")
            assert (code(seen), seen.lingers) == (expected, True)
            assert not judged(last, status="running", stop=True).lingers

    def test_nor_does_the_run_that_replaced_it_while_its_node_was_lost(self) -> None:
        """The node has come back, and says how the run had ended. The other one could publish something else."""
        first = allocation("failed", CLONED, [STARTED, terminated(3)])
        for status, lingers in (("running", True), ("complete", False)):
            second = msgspec.convert({"ID": "y", "ClientStatus": status}, Allocation)
            seen = observation(Evidence(stub("running", running=1), VARIABLE, [first, second]), "nomad")
            assert (code(seen), seen.lingers) == (5107, lingers)

    def test_one_that_ends_first_is_not_the_init_container(self) -> None:
        last = injected("failed", [STARTED, terminated(128)], [], state="dead", events=[terminated(0)])
        seen = judged(last)
        assert (code(seen), seen.container, seen.init_exit) == (5103, "coat", 128)

    def test_one_that_is_killed_does_not_explain_the_failure(self) -> None:
        last = injected("failed", CLONED, [STARTED, terminated(3)], state="dead", failed=True, events=[terminated(137)])
        seen = judged(last)
        assert (code(seen), seen.container, seen.signal) == (5107, "marvin", 0)

    def test_one_that_runs_out_of_memory_does_not_explain_the_failure(self) -> None:
        events = [terminated(137, oom="true")]
        last = injected("failed", CLONED, [STARTED, terminated(3)], state="dead", failed=True, events=events)
        assert code(judged(last)) == 5107

    def test_the_init_container_of_a_job_of_release_0_1_is_the_task_that_is_not_the_main_one(self) -> None:
        job = stub()
        meta = {name: text for name, text in (job.meta or {}).items() if name != "orchestrator_init"}
        last = allocation("failed", [STARTED, terminated(4)], [])
        seen = observation(Evidence(msgspec.structs.replace(job, meta=meta), VARIABLE, [last]), "nomad")
        assert seen.init_exit == 4


class TestAfterItsEnd:
    """Once the main task has ended by itself, nothing contradicts it."""

    SUCCEEDED = allocation("complete", CLONED, [STARTED, terminated(0)])
    FAILED = allocation("failed", CLONED, [STARTED, terminated(3)])

    @pytest.mark.parametrize(("last", "expected"), [(SUCCEEDED, 0), (FAILED, 5107)])
    @pytest.mark.parametrize("ended", [Ended(timed_out=True), Ended(unschedulable="no node")])
    def test_a_limit_that_was_passed_later_changes_nothing(self, last: Allocation, expected: int, ended: Ended) -> None:
        closed = msgspec.structs.replace(VARIABLE, ended=ended, open=False)
        assert code(judged(last, closed, stop=True)) == expected

    @pytest.mark.parametrize(("last", "expected"), [(SUCCEEDED, 0), (FAILED, 5107)])
    @pytest.mark.parametrize(
        "how",
        [{"client_status": "lost"}, {"preempted_by_allocation": "other"}, {"desired_status": "stop"}],
    )
    def test_a_lost_or_drained_node_changes_nothing(self, last: Allocation, expected: int, how: dict[str, Any]) -> None:
        assert code(judged(msgspec.structs.replace(last, **how), status="running")) == expected

    def test_a_later_allocation_changes_nothing(self) -> None:
        again = allocation("running", [STARTED], [])
        seen = observation(Evidence(stub("running", running=1), VARIABLE, [self.FAILED, again]), "nomad")
        assert code(seen) == 5107

    def test_an_operator_who_stops_the_job_changes_nothing(self) -> None:
        assert code(judged(self.FAILED, stop=True)) == 5107

    def test_a_cancel_is_confirmed_with_the_end(self) -> None:
        outcome = classify(judged(self.FAILED))
        assert outcome is not None
        cancelled = with_cancellation(VARIABLE, cancellation("a"), outcome)
        seen = judged(self.FAILED, cancelled, stop=True)
        assert (seen.phase, seen.cancelled, seen.ended_as) == ("failed", True, outcome)
        assert code(seen) == 5001

    def test_a_cancelled_run_that_had_succeeded_is_still_succeeded(self) -> None:
        assert judged(self.SUCCEEDED, with_cancellation(VARIABLE, cancellation("a")), stop=True).phase == "succeeded"


class TestStopped:
    """A task that was killed has not ended by itself. Why it was killed decides."""

    KILLED = allocation("complete", CLONED, [STARTED, KILLING, terminated(143)])

    def test_while_others_of_the_job_still_end_it_has_not_ended(self) -> None:
        running = msgspec.structs.replace(self.KILLED, client_status="running")
        assert code(judged(running, with_cancellation(VARIABLE, cancellation("a")), stop=True)) is None

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ({"desired_transition": {"Migrate": True}}, 5106),
            ({"preempted_by_allocation": "other"}, 5106),
            ({"client_status": "lost"}, 5106),
            ({}, 5107),
        ],
    )
    def test_disrupted_needs_a_drained_or_lost_node_or_preemption(self, how: dict[str, Any], expected: int) -> None:
        changed = {name: value for name, value in how.items() if name != "desired_transition"}
        last = msgspec.structs.replace(self.KILLED, client_status=how.get("client_status", "failed"))
        last = msgspec.structs.replace(last, **changed)
        if "desired_transition" in how:
            last = allocation(
                "failed", CLONED, [STARTED, KILLING, terminated(143)], DesiredTransition={"Migrate": True}
            )
        assert code(judged(last)) == expected

    def test_a_run_on_a_lost_node_waits_for_another_while_its_job_lives(self) -> None:
        lost = allocation("lost", CLONED, [STARTED])
        assert judged(lost, status="pending").phase == "waiting"


class TestRebooted:
    def test_a_task_that_its_restarted_client_cannot_find_is_disrupted(self) -> None:
        last = allocation("failed", CLONED, [STARTED, event("Failed Restoring Task")])
        assert code(judged(last)) == 5106

    def test_exit_code_0_of_a_program_whose_watcher_died_is_no_success(self) -> None:
        dead = event(
            "Terminated", "", exit_code="0", oom_killed="false", exit_message="executor: error waiting on process"
        )
        seen = judged(allocation("failed", CLONED, [STARTED, dead]))
        assert (code(seen), seen.main_exit) == (5106, None)

    def test_a_run_that_started_again_and_ended_is_judged_by_that(self) -> None:
        last = allocation("failed", CLONED, [STARTED, event("Failed Restoring Task"), STARTED, terminated(3)])
        assert code(judged(last)) == 5107


PULL = "Failed to pull `registry.example/team/timeout-503:1`: Error response from daemon: "


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (PULL + "manifest for registry.example/team/x:1 not found: manifest unknown", "image"),
        (PULL + "pull access denied for x, repository does not exist or may require 'docker login'", "image"),
        (PULL + 'Head "https://registry.example/v2/timeout/503 Service/x": unauthorized', "image"),
        (PULL + "toomanyrequests: You have reached your pull rate limit", "registry"),
        (PULL + 'Head "https://registry.example/v2/": 503 Service Unavailable', "registry"),
        (PULL + 'Get "https://registry.example/v2/": net/http: TLS handshake timeout', "registry"),
        (PULL + 'Get "https://registry.example/v2/": context deadline exceeded', "registry"),
        ("rpc error: code = Unknown desc = " + PULL + "denied", "image"),
        ('Failed to start container 4f1d: exec: "/opt/manifest unknown/pull": no such file', "configuration"),
        (
            'Failed to create container: invalid mount config for type "bind": path /srv/image does not exist',
            "configuration",
        ),
        ("failed to launch command with executor: file /opt/Failed to pull `x` not found", "configuration"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "unknown"),
    ],
)
def test_words_that_a_message_quotes_are_no_reasons(message: str, kind: str) -> None:
    seen = judged(allocation("failed", CLONED, [event("Driver Failure", message)]))
    flags = (bool(seen.image_error), seen.registry_error, bool(seen.configuration_error))
    expected = {
        "image": (True, False, False),
        "registry": (True, True, False),
        "configuration": (False, False, True),
        "unknown": (False, False, False),
    }
    assert flags == expected[kind]
    assert code(seen) == {"image": 5101, "registry": 5101, "configuration": 5108, "unknown": 5199}[kind]


@pytest.mark.parametrize("kind", ["Setup Failure", "Failed Validation"])
def test_a_volume_or_setting_that_the_node_refuses_is_misconfigured(kind: str) -> None:
    failed = event(kind, "failed to setup alloc: pre-run hook failed: volume image-pull missing", fails_task="true")
    assert code(judged(allocation("failed", CLONED, [failed]))) == 5108


def test_a_task_over_its_disk_is_disk_exhausted() -> None:
    last = allocation(
        "failed", CLONED, [STARTED, event("Disk Resources Exceeded", "Disk exceeded"), KILLING, terminated(137)]
    )
    assert code(judged(last)) == 5110


@pytest.mark.parametrize(("exit_code", "details", "expected"), [(137, "0", 9), (0, "0", 0), (3, "0", 0), (0, "15", 15)])
def test_the_signal_is_the_driver_s_or_the_exit_code_s(exit_code: int, details: str, expected: int) -> None:
    ended = event("Terminated", "", exit_code=str(exit_code), signal=details, oom_killed="false")
    state = msgspec.convert({"State": "dead", "Events": [STARTED, ended]}, TaskState)
    assert task_end(state).signal == expected


class TestTheVariable:
    def test_what_ended_the_job_is_kept_with_it(self) -> None:
        outcome = Outcome(reason="unschedulable", code=5102, hmessage="No node.", err="x" * 10_000)
        seen = judged(TestStopped.KILLED, with_end(VARIABLE, outcome), stop=True)
        assert seen.ended_as == msgspec.structs.replace(outcome, err="x" * 4000)
        assert code(seen) == 5102

    def test_the_job_s_nonce_is_the_identity_and_the_variable_s_where_the_job_has_none(self) -> None:
        job = stub()
        variable = msgspec.structs.replace(VARIABLE, nonce="of the Variable")
        for nonce, identity in (("of the job", "of the job"), ("", "of the Variable")):
            named = msgspec.structs.replace(job, meta={**(job.meta or {}), "orchestrator_nonce": nonce})
            seen = observation(Evidence(named, variable), "nomad", "ci")
            assert (seen.identity, seen.place) == (identity, "ci")
            assert observation(Evidence(named, None), "nomad").identity == nonce

    def test_without_a_job_it_shows_how_the_job_was_ended(self) -> None:
        succeeded = Outcome(reason="succeeded", code=0, hmessage="")
        assert without_job("a", with_end(VARIABLE, succeeded), "nomad").phase == "succeeded"
        late = with_cancellation(with_outcome(VARIABLE, succeeded), cancellation("a"), succeeded)
        seen = without_job("a", late, "nomad", "ci")
        assert (seen.reported, seen.published, seen.ended_as, seen.place) == (False, "succeeded", succeeded, "ci")
        assert code(seen) == 5001

    def test_a_result_that_atlas_refused_counts_as_reported_and_not_as_published(self) -> None:
        refused = with_outcome(VARIABLE, Outcome(reason="analyzer_failed", code=5107, hmessage=""), refusal="422")
        seen = without_job("a", refused, "nomad")
        assert (seen.reported, seen.published) == (True, "")
        assert without_job("a", with_cancellation(refused, cancellation("a")), "nomad").published == ""


def test_an_end_without_tasks_has_the_time_of_its_variable() -> None:
    assert without_job("a", VARIABLE, "nomad").ended == SUBMITTED


def test_a_run_goes_on_between_its_two_tasks() -> None:
    """Nomad calls its allocation pending then, and counts the job as starting."""
    last = allocation("pending", CLONED, [])
    assert judged(last, status="pending").phase == "running"
    assert judged(allocation("pending", [], []), status="pending").phase == "waiting"


def test_it_waits_between_them_if_something_keeps_the_next_one_from_starting() -> None:
    """Then `limits.imageSeconds` bounds the wait."""
    states = {
        "coat": {"State": "dead", "Events": CLONED},
        "marvin": {"State": "pending", "Events": [event("Template", "Missing: nomad.var.block(nomad/jobs/a)")]},
    }
    last = msgspec.convert({"ID": "x", "ClientStatus": "pending", "TaskStates": states}, Allocation)
    seen = judged(last, status="pending")
    assert (seen.phase, seen.configuration_error) == ("waiting", "Missing: nomad.var.block(nomad/jobs/a)")
