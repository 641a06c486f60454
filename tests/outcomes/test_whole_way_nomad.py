"""From what Nomad's servers and clients show to the outcome and to what an operator reads. As test_whole_way.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.cli.explaining import lines
from runner.config.types import LimitsSection
from runner.drivers.nomad.allocations.waiting import refusal, shortage
from runner.drivers.nomad.objects import Allocation, Evaluation, JobStub
from runner.drivers.nomad.observation import Evidence, observation
from runner.drivers.nomad.variable import Ended
from runner.observation import Observation
from runner.outcomes import classify, contradicts
from runner.tracker.advice import wait_of
from runner.tracker.ledger.judge import Passed, Waits, judge
from runner.tracker.ledger.record import merged
from tests.unit.drivers.nomad.test_observation import VARIABLE, event, stub, terminated

LIMITS = LimitsSection()
RECEIVED, SETUP = event("Received", "Task received by client"), event("Task Setup", "Building Task Directory")
STARTED = event("Started", "Task started by client")
BEGUN = (RECEIVED, SETUP, STARTED)
CLONED = {"State": "dead", "Events": [*BEGUN, terminated(0)]}
WAITS = {"State": "pending", "Events": [RECEIVED]}
NOT_AGAIN = event("Not Restarting", "Policy allows no restarts")
KILLING = event("Killing", "Sent interrupt. Waiting 5s before force killing")
KILLED = event("Killed", "Task successfully killed")
HOOK = event("Task hook failed", 'consul_services: driver "x" doesn\'t support script checks')
RESTARTING = event("Restarting", "Task restarting in 15s")
GONE = "rpc error: code = Unavailable desc = "
API = "rpc error: code = Unknown desc = "


def ended(*events: Any, failed: bool = True) -> dict[str, Any]:
    """A task that has ended, with its events."""
    return {"State": "dead", "Failed": failed, "Events": [RECEIVED, SETUP, *events]}


def refused(kind: str, message: str) -> dict[str, Any]:
    """A task that could not be started."""
    return ended(event(kind, message, fails_task="true"), NOT_AGAIN)


def read(
    status: str,
    tasks: dict[str, Any] | None,
    *,
    job: str = "dead",
    stop: bool = False,
    closed: Ended | None = None,
    **more: Any,
) -> Observation:
    """The observation of a job with one allocation."""
    shown = {"ID": "x", "JobID": "a", "ClientStatus": status, "TaskStates": tasks, **more}
    known = stub(job, stop=stop, running=1 if status == "running" else 0)
    variable = msgspec.structs.replace(VARIABLE, ended=closed, open=closed is None)
    last = msgspec.json.decode(msgspec.json.encode(shown), type=Allocation)
    return observation(Evidence(known, variable, [last]), "nomad")


def explained(seen: Observation) -> str:
    return " ".join(" ".join(lines(seen, LIMITS)).split())


ENDS: list[tuple[str, int | None, Observation, str]] = [
    (
        "docker cannot reach a registry",
        5101,
        read(
            "failed", {"coat": refused("Driver Failure", "Failed to pull `r.example/coat:1`: API error (500): timeout")}
        ),
        "Failed to pull",
    ),
    (
        "podman cannot pull",
        5101,
        read(
            "failed",
            {
                "coat": refused(
                    "Driver Failure", f"{API}failed to start task, unable to pull image r/coat:1 : not found"
                )
            },
        ),
        "unable to pull image",
    ),
    (
        "containerd cannot pull",
        5101,
        read("failed", {"coat": refused("Driver Failure", f"{API}Error in pulling image r/coat:1: not found")}),
        "Error in pulling image",
    ),
    (
        "the program is missing for exec",
        5108,
        read(
            "failed",
            {
                "coat": CLONED,
                "marvin": refused("Driver Failure", f"failed to launch command with executor: {API}file x"),
            },
        ),
        "failed to launch command",
    ),
    (
        "docker's memory limit is too small",
        5104,
        read(
            "failed",
            {
                "coat": refused(
                    "Driver Failure", "Failed to create container: API error (400): Minimum memory limit allowed is 6MB"
                )
            },
        ),
        "Minimum memory limit",
    ),
    (
        "an artifact cannot be downloaded",
        5108,
        read("failed", {"coat": refused("Failed Artifact Download", 'failed to download artifact "http://x": 404')}),
        "failed to download artifact",
    ),
    (
        "a template names a missing key",
        5108,
        read(
            "failed",
            {"coat": ended(event("Killing", 'Template failed: no entry for key "x"', fails_task="true"), KILLED)},
        ),
        "Template failed",
    ),
    (
        "the job's network cannot be set up",
        5108,
        read(
            "failed",
            {"coat": refused("Setup Failure", 'failed to setup alloc: pre-run hook "network" failed: no bridge')},
        ),
        "failed to setup alloc",
    ),
    (
        "a volume is missing on the node",
        5108,
        read("failed", {"coat": refused("Setup Failure", 'failed to setup alloc: pre-run hook "csi_hook" failed: x')}),
        "csi_hook",
    ),
    (
        "a hook of the task fails",
        5108,
        read("failed", {"coat": ended(event("Task hook failed", "volumes: volume cache not found"), NOT_AGAIN)}),
        "volume cache not found",
    ),
    (
        "the node cannot keep the task's log",
        5199,
        read("failed", {"coat": ended(event("Task hook failed", "logmon: failed to start"), NOT_AGAIN)}),
        "logmon: failed to start",
    ),
    (
        "the driver rejects the task's configuration",
        5108,
        read("failed", {"coat": refused("Failed Validation", "2 errors occurred: image name required")}),
        "image name required",
    ),
    (
        "the log takes all the disk",
        5110,
        read(
            "failed",
            {"coat": CLONED, "marvin": ended(STARTED, event("Disk Resources Exceeded", "100 MB > 50 MB"), KILLED)},
        ),
        "100 MB > 50 MB",
    ),
    (
        "out of memory",
        5104,
        read(
            "failed",
            {
                "coat": CLONED,
                "marvin": ended(
                    STARTED, event("Terminated", "Exit Code: 137, OOM Killed", exit_code="137", oom_killed="true")
                ),
            },
        ),
        "marvin ran out of memory",
    ),
    (
        "the analyzer fails",
        5107,
        read("failed", {"coat": CLONED, "marvin": ended(STARTED, terminated(3))}),
        "exit code 3",
    ),
    (
        "an exit code of Windows",
        5107,
        read("failed", {"coat": CLONED, "marvin": ended(STARTED, terminated(-1073741819))}),
        "exit code -1073741819",
    ),
    (
        "the clone fails",
        5103,
        read("failed", {"coat": ended(STARTED, terminated(128)), "marvin": WAITS}),
        "exit code 128",
    ),
    (
        "a node is drained",
        5106,
        read(
            "complete",
            {"coat": CLONED, "marvin": ended(STARTED, KILLING, terminated(143), KILLED, failed=False)},
            DesiredStatus="stop",
            DesiredDescription="alloc is being migrated",
            DesiredTransition={"Migrate": True},
        ),
        "alloc is being migrated",
    ),
    (
        "a more important job takes its place",
        5106,
        read(
            "complete",
            {"coat": CLONED, "marvin": ended(STARTED, KILLING, terminated(137), KILLED, failed=False)},
            DesiredStatus="evict",
            DesiredDescription="Preempted by alloc ID 4f1d",
            PreemptedByAllocation="4f1d",
        ),
        "Preempted by alloc ID 4f1d",
    ),
    (
        "a node is lost",
        5106,
        read(
            "lost",
            {"coat": CLONED, "marvin": {"State": "running", "Events": list(BEGUN)}},
            DesiredStatus="stop",
            ClientDescription="alloc is lost since its node is down",
        ),
        "alloc is lost",
    ),
    (
        "a client is disconnected",
        None,
        read(
            "unknown",
            {"coat": CLONED, "marvin": {"State": "running", "Events": list(BEGUN)}},
            job="running",
            ClientDescription="alloc is unknown since its node is disconnected",
        ),
        "",
    ),
    (
        "a client is disconnected for longer than allowed",
        5106,
        read(
            "lost",
            {"coat": CLONED, "marvin": {"State": "running", "Events": [*BEGUN, event("Client Disconnected")]}},
            ClientDescription="alloc lost since its node is disconnected",
        ),
        "disconnected",
    ),
    (
        "a client is connected again",
        5107,
        read(
            "failed",
            {"coat": CLONED, "marvin": ended(STARTED, event("Reconnected", "Client reconnected"), terminated(3))},
        ),
        "exit code 3",
    ),
    (
        "somebody stopped and removed the job",
        5109,
        read(
            "complete",
            {"coat": CLONED, "marvin": ended(STARTED, KILLING, terminated(143), KILLED, failed=False)},
            stop=True,
            DesiredStatus="stop",
            DesiredDescription="alloc not needed due to job update",
        ),
        "deleted",
    ),
    (
        "a limit of ours ended it",
        5105,
        read(
            "complete",
            {"coat": CLONED, "marvin": ended(STARTED, KILLING, terminated(143), KILLED, failed=False)},
            stop=True,
            closed=Ended(timed_out=True),
        ),
        "took longer than allowed",
    ),
    (
        "the agent was restarted and could not find the container",
        5106,
        read(
            "failed",
            {"coat": CLONED, "marvin": ended(STARTED, event("Failed Restoring Task", "failed to restore task"))},
        ),
        "failed to restore",
    ),
    (
        "a sidecar that somebody added fails before coat",
        5199,
        read(
            "failed",
            {
                "proxy": ended(STARTED, terminated(1), NOT_AGAIN),
                "coat": ended(event("Sibling Task Failed", 'Task\'s sibling "proxy" failed'), KILLING, KILLED),
                "marvin": WAITS,
            },
        ),
        "sibling",
    ),
    (
        "a sidecar that somebody added never ends",
        5107,
        read(
            "running",
            {
                "proxy": {"State": "running", "Events": list(BEGUN)},
                "coat": CLONED,
                "marvin": ended(STARTED, terminated(3)),
            },
            job="running",
        ),
        "exit code 3",
    ),
    *(
        (f"a hook of a service failed after the start, and {what}", code, read(status, tasks), said)
        for what, code, status, tasks, said in (
            ("marvin fails", 5107, "failed", {"coat": CLONED, "marvin": ended(STARTED, HOOK, terminated(3))}, "code 3"),
            ("coat fails", 5103, "failed", {"coat": ended(STARTED, HOOK, terminated(128))}, "code 128"),
            ("marvin succeeds", 0, "failed", {"coat": CLONED, "marvin": ended(STARTED, HOOK, terminated(0))}, ""),
            (
                "marvin runs out of memory",
                5104,
                "failed",
                {"coat": CLONED, "marvin": ended(STARTED, HOOK, terminated(137, oom="true"))},
                "marvin ran out of memory",
            ),
        )
    ),
    (
        "Nomad stops the allocation, and not with its job",
        5106,
        read(
            "complete",
            {"coat": CLONED, "marvin": ended(STARTED, KILLING, terminated(143), KILLED, failed=False)},
            DesiredStatus="stop",
            DesiredDescription="alloc not needed as node is tainted",
        ),
        "node is tainted",
    ),
    (
        "a disconnected client's job is given up",
        5106,
        read("unknown", {"coat": CLONED, "marvin": {"State": "running", "Events": list(BEGUN)}}, ClientDescription="x"),
        "x",
    ),
    (
        "a policy lets tasks restart, and marvin is about to",
        None,
        read(
            "pending",
            {"coat": CLONED, "marvin": {"State": "pending", "Events": [*BEGUN, terminated(1), RESTARTING]}},
            job="running",
        ),
        "",
    ),
    (
        "a policy lets tasks restart, and marvin has failed for the last time",
        5107,
        read("failed", {"coat": CLONED, "marvin": ended(STARTED, terminated(1), RESTARTING, STARTED, terminated(3))}),
        "exit code 3",
    ),
    (
        "a policy lets tasks restart, and marvin is stopped before it is",
        5107,
        read("failed", {"coat": CLONED, "marvin": ended(STARTED, terminated(1), RESTARTING, KILLING, KILLED)}),
        "exit code 1",
    ),
    (
        "a plugin of the node dies while it starts the task",
        5199,
        read("failed", {"coat": refused("Driver Failure", f"{GONE}error reading from server: EOF")}),
        "error reading from server",
    ),
    (
        "an allocation is refused by its client",
        5106,
        read("failed", None, ClientDescription="Unable to add allocation due to error: disk"),
        "Unable to add allocation",
    ),
]


@pytest.mark.parametrize(("code", "seen", "said"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_job_that_ends_or_goes_on(code: int | None, seen: Observation, said: str) -> None:
    outcome = classify(seen)
    assert (outcome.code if outcome else None) == code
    assert said in explained(seen)
    if outcome:
        assert said in f"{outcome.hmessage} {outcome.err}"


EMPTY = {"NodesEvaluated": 0, "NodesAvailable": {"dc1": 0, "dc2": 2}}
WAITING: list[tuple[str, int, dict[str, Any] | None, dict[str, Any] | None, str]] = [
    (
        "no node is in the datacenter",
        5102,
        None,
        EMPTY,
        "Unschedulable: no node takes it: 0 nodes evaluated, none in datacenter dc1",
    ),
    (
        "no node is in the pool of nodes",
        5102,
        None,
        {"NodesEvaluated": 0, "NodePool": "gpu", "NodesInPool": 0, "NodesAvailable": None},
        "Unschedulable: no node takes it: 0 nodes evaluated, none in node pool gpu",
    ),
    (
        "no node has the driver",
        5102,
        None,
        {"NodesEvaluated": 3, "NodesFiltered": 3, "ConstraintFiltered": {"missing drivers": 3}},
        "Unschedulable: no node takes it: 3 nodes evaluated, constraint missing drivers filtered 3",
    ),
    (
        "a class of nodes is full",
        5102,
        None,
        {"NodesEvaluated": 2, "NodesExhausted": 2, "ClassExhausted": {"big": 2}, "DimensionExhausted": {"memory": 2}},
        "Unschedulable: no node takes it: 2 nodes evaluated, class big exhausted on 2, memory exhausted on 2",
    ),
    ("a quota", 5111, None, {"QuotaExhausted": ["cpu exhausted (500 needed > 100 limit)"]}, "Not admitted: the quota"),
    (
        "an image is being fetched",
        5102,
        {
            "coat": {"State": "pending", "Events": [RECEIVED, SETUP, event("Driver", "Downloading image")]},
            "marvin": WAITS,
        },
        None,
        "Starting: coat: Downloading image",
    ),
    (
        "a task that somebody added comes first",
        5102,
        {"proxy": {"State": "pending", "Events": [event("Driver", "Downloading image")]}, "coat": WAITS},
        None,
        "Starting: proxy: Downloading image",
    ),
    *(
        (
            f"a policy lets tasks restart, and a pull fails: {cause}",
            5101,
            {"coat": {"State": "pending", "Events": [event("Driver Failure", f"Failed to pull `r/a:1`: {cause}")]}},
            None,
            f"Failed to pull `r/a:1`: {cause}",
        )
        for cause in ("dial tcp: lookup r: no such host", "connect: network is unreachable")
    ),
    (
        "a Variable is missing",
        5108,
        {"coat": {"State": "pending", "Events": [RECEIVED, SETUP, event("Template", "Missing: nomad.var.block(x)")]}},
        None,
        "Missing: nomad.var.block(x)",
    ),
    ("nothing is known", 5102, None, None, "Starting: nothing is known to be wrong"),
]


@pytest.mark.parametrize(
    ("code", "tasks", "metric", "why"), [row[1:] for row in WAITING], ids=[row[0] for row in WAITING]
)
def test_a_job_that_waits(code: int, tasks: Any, metric: Any, why: str) -> None:
    seen = read("pending", tasks, job="pending") if tasks else observation(Evidence(stub("pending"), VARIABLE), "nomad")
    found = msgspec.convert({"FailedTGAllocs": {"job": metric}}, Evaluation)
    seen = msgspec.structs.replace(seen, queued_since=seen.created, **(refusal(shortage([found])) if metric else {}))
    wait = wait_of(seen)
    assert wait is not None
    assert wait.text.startswith(why)
    assert f"Why {why}" in explained(seen)
    passed = judge(seen, 1e9, 1e9, LIMITS)
    assert isinstance(passed, Passed)
    assert passed.outcome.code == code
    assert why.removeprefix("Starting: ").rpartition(": ")[2] in passed.outcome.err or tasks is metric is None


@pytest.mark.parametrize(("since", "over"), [((), False), ((event("Driver", "Downloading image"),), True)])
def test_what_a_template_named_is_history_once_the_task_gets_further(since: Any, over: bool) -> None:
    def waiting(*events: Any) -> Observation:
        return read("pending", {"coat": {"State": "pending", "Events": [RECEIVED, *events]}, "marvin": WAITS}, job="x")

    missing = event("Template", "Missing: vault.read(secret/data/x)")
    before, now = waiting(missing), waiting(missing, *since)
    refused = judge(before, LIMITS.image_seconds, 0.0, LIMITS)
    assert isinstance(refused, Passed)
    assert contradicts(now, before, refused.outcome) is over
    assert (merged(before, now).configuration_error == "") is over


@pytest.mark.parametrize(
    ("cause", "limit"),
    [
        ("connect: network is unreachable", LIMITS.registry_seconds),
        ("failed to register layer: write /x: no space left on device", LIMITS.registry_seconds),
        ("Error response from daemon: toomanyrequests: x", LIMITS.registry_seconds),
        ("Error response from daemon: manifest unknown", LIMITS.image_seconds),
        ("x509: certificate signed by unknown authority", LIMITS.image_seconds),
    ],
)
def test_the_limit_of_a_pull_that_is_tried_again(cause: str, limit: int) -> None:
    events = [event("Driver Failure", f"Failed to pull `r/a:1`: {cause}"), RESTARTING]
    seen = read("pending", {"coat": {"State": "pending", "Events": events}}, job="pending")
    assert judge(seen, 0.0, 0.0, LIMITS) == Waits(limit)


def test_the_scheduler_failed() -> None:
    """Then there is no metric. A blocked evaluation has a description as well, which explains nothing."""
    failed = {"Status": "failed", "StatusDescription": "maximum attempts reached (5)"}
    blocked = {"Status": "blocked", "StatusDescription": "created to place remaining allocations"}
    evaluations = msgspec.convert([failed, blocked], list[Evaluation])
    assert shortage(evaluations) == "the scheduler failed: maximum attempts reached (5)"
    assert shortage(evaluations[1:]) == ""


def test_a_job_without_a_summary_waits() -> None:
    job = msgspec.json.decode(b'{"ID": "a", "Meta": null, "Status": "pending", "JobSummary": null}', type=JobStub)
    assert observation(Evidence(job, None), "nomad").phase == "waiting"


def test_the_evidence_of_an_end_leaves_out_what_each_task_goes_through() -> None:
    pulled = event("Driver", "Downloading image")
    failed = ended(pulled, STARTED, terminated(3), NOT_AGAIN)
    outcome = classify(read("failed", {"coat": CLONED, "marvin": failed}, ClientDescription="Failed tasks"))
    assert outcome is not None
    assert outcome.err == "main container: exit code 3\nmarvin: Exit Code: 3"
