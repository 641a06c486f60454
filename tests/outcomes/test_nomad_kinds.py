"""Other members of the kinds of ends in test_nomad.py: what else Nomad's clients, drivers and scheduler show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.drivers.nomad.allocations.task_ends import task_end
from runner.drivers.nomad.allocations.waiting import shortage
from runner.drivers.nomad.objects import Allocation, Evaluation, TaskState
from runner.drivers.nomad.observation import Evidence, observation, without_job
from runner.drivers.nomad.variable import Ended
from tests.outcomes.test_nomad import KILLING, STARTED, code, injected, judged
from tests.unit.drivers.nomad.test_observation import CLONED, PULL, VARIABLE, allocation, event, stub, terminated

OOM = "Failed to start container 4f1d: OCI runtime create failed: container init was OOM-killed (limit too low?)"
SIBLING = event("Sibling Task Failed", 'Task\'s sibling "proxy" failed')
MISSING = event("Template", "Missing: nomad.var.block(nomad/jobs/credentials@default.global)")


def exit_of(exit_code: int, **details: str) -> dict[str, Any]:
    return event("Terminated", "", **{"exit_code": str(exit_code), "oom_killed": "false", **details})


CHILD = exit_of(0, oom_killed="true", exit_message="OOM Killed")
"""A child of the program was killed for memory. Docker's driver says so, and Nomad calls the task failed."""

ENDS: list[tuple[str, int | None, Allocation]] = [
    (
        "a signal of which the driver says exit code 0",
        5107,
        allocation("failed", CLONED, [STARTED, exit_of(0, signal="9")]),
    ),
    ("coat ends by a signal, with exit code 0", 5103, allocation("failed", [STARTED, exit_of(0, signal="9")], [])),
    (
        "a child of marvin was killed for memory, and marvin succeeded",
        0,
        allocation("failed", CLONED, [STARTED, CHILD]),
    ),
    ("a child of coat was killed for memory, so marvin never starts", 5104, allocation("failed", [STARTED, CHILD], [])),
    (
        "coat was near its memory limit, and marvin failed",
        5107,
        allocation("failed", [STARTED, exit_of(0, oom_killed="true")], [STARTED, terminated(3)]),
    ),
    (
        "coat was near its memory limit, and marvin ran out of memory",
        5104,
        allocation("failed", [STARTED, exit_of(0, oom_killed="true")], [STARTED, terminated(137, oom="true")]),
    ),
    (
        "coat cannot be started for lack of memory",
        5104,
        allocation("failed", [event("Driver Failure", OOM, fails_task="true")], []),
    ),
    ("marvin cannot be started for lack of memory", 5104, allocation("failed", CLONED, [event("Driver Failure", OOM)])),
    (
        "a failure to start that was overcome",
        5107,
        allocation("failed", CLONED, [event("Driver Failure", "timeout"), STARTED, terminated(3)]),
    ),
    (
        "a success after a failure to start that was overcome",
        0,
        allocation("complete", [event("Driver Failure", "no"), *CLONED], [STARTED, terminated(0)]),
    ),
    (
        "the image disappears before the container is made",
        5101,
        allocation(
            "failed",
            CLONED,
            [event("Driver Failure", "failed to create container: Error response from daemon: No such image: x:1")],
        ),
    ),
    (
        "the image disappears, as an older client says it",
        5101,
        allocation("failed", CLONED, [event("Driver Failure", "failed to create container: no such image")]),
    ),
    (
        "the image cannot be pulled after Nomad's driver has started again",
        5101,
        allocation(
            "failed", [event("Driver Failure", f"failed to start task after driver exited unexpectedly: {PULL}")], []
        ),
    ),
    *(
        (f"the node itself fails: {text[:40]}", 5199, allocation("failed", [event("Driver Failure", text)], []))
        for text in (
            "failed to fetch docker daemon info: error during connect: Get http://docker/info: EOF",
            "rpc error: code = Unknown desc = failed to launch docker logger plugin: exit status 1",
            "failed to initialize driver after it exited unexpectedly: no such driver",
        )
    ),
    ("an artifact cannot be downloaded", 5108, allocation("failed", [event("Failed Artifact Download", "404")], [])),
    (
        "an added task failed, so Nomad kills marvin",
        5199,
        injected("failed", CLONED, [STARTED, SIBLING, KILLING, terminated(143)], state="dead", failed=True),
    ),
    (
        "an added leader ended, so Nomad kills coat",
        5199,
        injected("failed", [STARTED, event("Leader Task Dead"), KILLING, terminated(137)], [], state="dead"),
    ),
    (
        "marvin ends with 0 when it is killed",
        0,
        allocation("failed", CLONED, [STARTED, SIBLING, KILLING, terminated(0)]),
    ),
    (
        "a client could not take the allocation",
        5106,
        msgspec.convert(
            {"ID": "x", "ClientStatus": "failed", "ClientDescription": "Unable to add allocation due to error: x"},
            Allocation,
        ),
    ),
    ("an allocation without tasks failed", 5199, msgspec.convert({"ID": "x", "ClientStatus": "failed"}, Allocation)),
    ("coat failed before its node was lost", 5103, allocation("lost", [STARTED, terminated(2)], [])),
    ("coat had ended when its node was lost", 5106, allocation("lost", CLONED, [])),
]


@pytest.mark.parametrize(("expected", "last"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_the_end_of(expected: int | None, last: Allocation) -> None:
    assert code(judged(last)) == expected


def test_the_analyzer_is_not_at_fault_for_another_task() -> None:
    killed = [STARTED, SIBLING, KILLING, terminated(143)]
    seen = judged(injected("failed", CLONED, killed, state="dead", failed=True))
    assert (seen.main_exit, seen.disrupted) == (None, False)


@pytest.mark.parametrize("exit_code", [1, 2, 126, 127, 128, 129, 134, 137, 139, 143, 159, 255])
def test_an_exit_code_without_another_reason_is_the_program_s_own(exit_code: int) -> None:
    assert code(judged(allocation("failed", CLONED, [STARTED, terminated(exit_code)]))) == 5107
    assert code(judged(allocation("failed", [STARTED, terminated(exit_code)], []))) == 5103


class TestATaskThatWaitsForItsTemplates:
    @staticmethod
    def waiting(*events: dict[str, Any]) -> Allocation:
        state = msgspec.convert({"State": "pending", "Events": list(events)}, TaskState)
        return msgspec.structs.replace(allocation("pending", [], []), task_states={"coat": state})

    def test_it_names_what_is_missing(self) -> None:
        seen = judged(self.waiting(event("Received"), MISSING), status="pending")
        assert (seen.phase, seen.configuration_error) == ("waiting", MISSING["DisplayMessage"])

    def test_an_event_shows_it(self) -> None:
        assert self.waiting(MISSING).ends == ("coat",)
        assert self.waiting(event("Received")).ends == ()

    def test_not_once_it_has_started(self) -> None:
        state = msgspec.convert({"State": "running", "Events": [MISSING, STARTED]}, TaskState)
        assert task_end(state).configuration_error == ""


class TestTheScheduler:
    METRIC = {"NodesEvaluated": 3, "ClassFiltered": {"small": 3}}

    def test_a_class_of_nodes_is_filtered(self) -> None:
        text = shortage([msgspec.convert({"FailedTGAllocs": {"job": self.METRIC}}, Evaluation)])
        assert text == "no node takes it: 3 nodes evaluated, class small filtered 3"

    def test_a_quota_refuses_the_allocation(self) -> None:
        metric = {"NodesEvaluated": 0, "QuotaExhausted": ["memory exhausted (100 needed > 10 limit)"]}
        text = shortage([msgspec.convert({"FailedTGAllocs": {"job": metric}}, Evaluation)])
        closed = msgspec.structs.replace(VARIABLE, ended=Ended(unschedulable=text), open=False)
        for seen in (without_job("a", closed, "nomad"), observation(Evidence(stub(stop=True), closed), "nomad")):
            assert (code(seen), seen.not_admitted) == (5111, text)

    def test_it_has_found_a_node(self) -> None:
        assert judged(allocation("pending", [], []), status="pending").scheduled
        assert not observation(Evidence(stub("pending"), VARIABLE), "nomad").scheduled
