"""How real servers show the ends of jobs, and what each means: the facts that the tracker judges."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from runner.drivers.kubernetes.manifest import ENDED, FINGERPRINT, PUBLISHED, REPORTED, SET_ASIDE
from runner.drivers.kubernetes.objects import PodObject
from runner.drivers.kubernetes.pods.versions import deleted, later
from runner.outcomes import classify
from tests.unit.drivers.kubernetes.objects import (
    CANCELLATION,
    CREATING,
    DONE,
    FAILED,
    LATE,
    RUNNING,
    TARGET,
    clock,
    condition,
    exited,
    facts,
    job,
    observed,
    pod,
    waits,
)

LOST = exited(137, "ContainerStatusUnknown", "The container could not be located when the pod was terminated", None)
PULL = (
    'Back-off pulling image "r.example/not-found/coat:1": ErrImagePull: failed to pull and unpack image'
    ' "r.example/not-found/coat:1": failed to resolve reference "r.example/not-found/coat:1": '
)
MISSING = PULL + "r.example/not-found/coat:1: not found"
DISK = "Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. "
NODE_DISK = "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. Container marvin"
NO_PROGRAM = 'exec: "/app/coat": stat /app/coat: no such file or directory: unknown'
DISRUPTION = condition("DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting", at=clock(4))
DEADLINE = (condition("FailureTarget", *LATE), condition("Failed", *LATE))
FAILED_3 = {"phase": "failed", "container": "marvin", "init_exit": 0, "main_exit": 3}
TAKEN = {"phase": "failed", "disrupted": True}

ENDS: list[tuple[str, int | None, Any, Any, dict[str, Any]]] = [
    (
        "1 a native sidecar ends 137 before coat",
        5107,
        job(FAILED),
        pod(init={"istio-proxy": exited(137), "coat": DONE}, main={"marvin": exited(3)}),
        FAILED_3,
    ),
    (
        "2 an injected init container ends 0 before coat",
        5103,
        job(FAILED),
        pod(init={"istio-init": DONE, "coat": exited(128)}, main={"marvin": CREATING}),
        {"phase": "failed", "container": "coat", "init_exit": 128},
    ),
    (
        "3 an injected container before marvin ends 0",
        5107,
        job(FAILED),
        pod(init={"coat": DONE}, main={"istio-proxy": DONE, "marvin": exited(3)}),
        FAILED_3,
    ),
    (
        "4 marvin succeeds, an injected container fails",
        0,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(0), "proxy": exited(1)}),
        {"phase": "succeeded", "init_exit": 0, "main_exit": 0},
    ),
    (
        "5 marvin succeeds, an injected container never ends",
        0,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(0), "proxy": RUNNING}, phase="Running"),
        {"phase": "succeeded", "lingers": True, "init_exit": 0, "main_exit": 0},
    ),
    (
        "5 the same at the deadline",
        0,
        job(*DEADLINE),
        pod(init={"coat": DONE}, main={"marvin": exited(0), "proxy": RUNNING}, phase="Running", deleted=clock(40)),
        {"phase": "succeeded", "init_exit": 0, "main_exit": 0},
    ),
    (
        "6 marvin fails, an injected container never ends",
        5107,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(3), "proxy": RUNNING}, phase="Running"),
        {**FAILED_3, "lingers": True},
    ),
    (
        "6 the same at the deadline",
        5107,
        job(*DEADLINE),
        pod(init={"coat": DONE}, main={"marvin": exited(3), "proxy": exited(143, at=clock(40))}, deleted=clock(40)),
        FAILED_3,
    ),
    (
        "6 an injected container whose image is missing keeps the pod open",
        5107,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(3), "proxy": waits("ErrImagePull", MISSING)}, phase="Pending"),
        {**FAILED_3, "lingers": True},
    ),
    (
        "7 marvin has succeeded, its pod is gone",
        0,
        job(condition("Complete")),
        None,
        {"phase": "succeeded"},
    ),
    (
        "8 marvin has failed, then its pod is deleted",
        5107,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(3)}, deleted=clock(6, 30)),
        FAILED_3,
    ),
    (
        "9 the image is missing",
        None,
        job(),
        pod(init={"coat": waits("ImagePullBackOff", MISSING)}, main={"marvin": CREATING}, phase="Pending"),
        {"phase": "waiting", "image_error": f"coat: ImagePullBackOff: {MISSING}"},
    ),
    (
        "9 marvin's image is missing",
        None,
        job(),
        pod(init={"coat": DONE}, main={"marvin": waits("ErrImagePull", MISSING)}, phase="Pending"),
        {"phase": "waiting", "image_error": f"marvin: ErrImagePull: {MISSING}", "init_exit": 0},
    ),
    (
        "9 marvin's image is being pulled",
        None,
        job(),
        pod(init={"coat": DONE}, main={"marvin": CREATING}, phase="Pending"),
        {"phase": "running", "init_exit": 0},
    ),
    (
        "9 marvin's image is missing, shown without the error while the pod is deleted",
        None,
        job(),
        pod(init={"coat": DONE}, main={"marvin": CREATING}, phase="Pending", deleted=clock(9, 30)),
        {"phase": "waiting", "init_exit": 0},
    ),
    (
        "9 the same at the deadline, shown without the error",
        5105,
        job(*DEADLINE),
        pod(init={"coat": CREATING}, main={"marvin": CREATING}, phase="Pending", deleted=clock(9, 30)),
        {"phase": "failed", "timed_out": True},
    ),
    (
        "10 the same, with a placeholder",
        5105,
        job(*DEADLINE),
        pod(init={"coat": LOST}, main={"marvin": LOST}, deleted=clock(9, 30)),
        {"phase": "failed", "timed_out": True, "container": "marvin"},
    ),
    (
        "11 no node has room",
        None,
        job(),
        pod(phase="Pending", conditions=(condition("PodScheduled", "Unschedulable", "0/1 nodes", status="False"),)),
        {"phase": "waiting", "unschedulable": "0/1 nodes"},
    ),
    ("12 no pod is made", None, job(), None, {"phase": "waiting"}),
    (
        "13 a volume is missing",
        None,
        job(),
        pod(init={"coat": CREATING}, main={"marvin": CREATING}, phase="Pending"),
        {"phase": "waiting"},
    ),
    *(
        (f"14 the kubelet rejects the pod: {reason}", 5106, job(FAILED), pod(reason=reason, message="rejected"), TAKEN)
        for reason in ("OutOfmemory", "OutOfcpu", "OutOfpods", "NodeAffinity", "UnexpectedAdmissionError", "NodeLost")
    ),
    (
        "15 the node rebooted, and the container is gone",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": LOST}),
        {**TAKEN, "container": "marvin", "init_exit": 0},
    ),
    (
        "15 the node rebooted, and the runtime knows no end",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(255, "Unknown")}),
        {**TAKEN, "container": "marvin", "init_exit": 0},
    ),
    (
        "15 the node shuts down",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(143)}, reason="Terminated", message="in response to shutdown"),
        {**TAKEN, "container": "marvin", "init_exit": 0, "main_exit": 143},
    ),
    (
        "16 coat's program is missing",
        5108,
        job(FAILED),
        pod(init={"coat": exited(128, "StartError", NO_PROGRAM)}, main={"marvin": CREATING}),
        {"phase": "failed", "container": "coat", "configuration_error": f"coat: StartError: {NO_PROGRAM}"},
    ),
    (
        "16 marvin's program is not executable",
        5108,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(128, "StartError", "permission denied")}),
        {
            "phase": "failed",
            "container": "marvin",
            "configuration_error": "marvin: StartError: permission denied",
            "init_exit": 0,
        },
    ),
    *(
        (
            f"17 evicted for its own disk limit: {message}",
            5110,
            job(FAILED),
            pod(init={"coat": DONE}, main={"marvin": exited(137)}, reason="Evicted", message=message),
            {
                "phase": "failed",
                "disk_exhausted": message.strip(),
                "container": "marvin",
                "init_exit": 0,
                "main_exit": 137,
            },
        )
        for message in (
            DISK,
            'Usage of EmptyDir volume "codedir" exceeds the limit "20Mi". ',
            'Container marvin exceeded its local ephemeral storage limit "20Mi". ',
        )
    ),
    (
        "17 evicted because the node's disk is full",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(137)}, reason="Evicted", message=NODE_DISK),
        {**TAKEN, "container": "marvin", "init_exit": 0, "main_exit": 137},
    ),
    (
        "18 somebody deletes the pod, which ends on SIGTERM",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(143, at=clock(5))}, deleted=clock(5, 30)),
        {**TAKEN, "container": "marvin", "init_exit": 0, "main_exit": 143},
    ),
    (
        "18 somebody deletes the pod, which handles SIGTERM and ends later with a code of its own",
        5106,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(1, at=clock(5, 9))}, deleted=clock(5, 30)),
        {**TAKEN, "container": "marvin", "init_exit": 0, "main_exit": 1},
    ),
    ("18 the deleted pod is gone", 5106, job(FAILED), None, TAKEN),
    (
        "19 the node is silent at the deadline",
        5106,
        job(condition("FailureTarget", *LATE)),
        pod(init={"coat": DONE}, main={"marvin": RUNNING}, phase="Running", conditions=(DISRUPTION,), deleted=clock(8)),
        {**TAKEN, "timed_out": True, "container": "marvin", "init_exit": 0},
    ),
    (
        "coat is killed for memory",
        5104,
        job(FAILED),
        pod(init={"coat": exited(137, "OOMKilled")}, main={"marvin": CREATING}),
        {"phase": "failed", "out_of_memory": True, "container": "coat", "init_exit": 137},
    ),
    (
        "marvin is killed for memory",
        5104,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(137, "OOMKilled")}),
        {"phase": "failed", "out_of_memory": True, "container": "marvin", "init_exit": 0, "main_exit": 137},
    ),
    (
        "an injected container is killed for memory",
        None,
        job(),
        pod(init={"coat": DONE}, main={"marvin": RUNNING, "proxy": exited(137, "OOMKilled")}, phase="Running"),
        {"phase": "running", "init_exit": 0},
    ),
    (
        "137 alone is a signal",
        5107,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(137)}),
        {"phase": "failed", "container": "marvin", "signal": 9, "init_exit": 0, "main_exit": 137},
    ),
    (
        "marvin is killed for memory in the second in which its pod is deleted",
        5104,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(137, "OOMKilled")}, deleted=clock(5, 30)),
        {"phase": "failed", "out_of_memory": True, "container": "marvin", "init_exit": 0, "main_exit": 137},
    ),
    (
        "marvin fails in the second in which its pod is deleted",
        5107,
        job(FAILED),
        pod(init={"coat": DONE}, main={"marvin": exited(3)}, deleted=clock(5, 30)),
        FAILED_3,
    ),
    (
        "marvin ends with 0 after it was stopped",
        0,
        job(*DEADLINE),
        pod(init={"coat": DONE}, main={"marvin": exited(0, at=clock(40, 9))}, deleted=clock(40, 30)),
        {"phase": "succeeded", "init_exit": 0, "main_exit": 0},
    ),
    (
        "the pod is deleted while coat runs",
        5106,
        job(FAILED),
        pod(init={"coat": exited(143)}, main={"marvin": CREATING}, deleted=clock(5, 30)),
        {**TAKEN, "container": "coat", "init_exit": 143},
    ),
    (
        "coat has failed, so no later container ever starts",
        5103,
        job(),
        pod(init={"coat": exited(2)}, main={"marvin": CREATING, "proxy": CREATING}),
        {"phase": "failed", "container": "coat", "init_exit": 2},
    ),
    (
        "marvin has failed, its Job says nothing yet",
        5107,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(3)}),
        FAILED_3,
    ),
    (
        "coat has failed, its Job says nothing yet",
        5103,
        job(),
        pod(init={"coat": exited(2)}, main={"marvin": CREATING}),
        {"phase": "failed", "container": "coat", "init_exit": 2},
    ),
    (
        "FailureTarget is an end",
        5107,
        job(TARGET),
        pod(init={"coat": DONE}, main={"marvin": exited(3)}),
        FAILED_3,
    ),
    (
        "the deadline stops marvin, which takes a while",
        5105,
        job(condition("FailureTarget", *LATE)),
        pod(init={"coat": DONE}, main={"marvin": exited(1, at=clock(40, 9))}, phase="Running", deleted=clock(40, 30)),
        {"phase": "failed", "timed_out": True, "container": "marvin", "init_exit": 0, "main_exit": 1},
    ),
    (
        "a drained pod is replaced, so the job goes on",
        None,
        job(),
        pod(init={"coat": DONE}, main={"marvin": exited(143, at=clock(4))}, conditions=(DISRUPTION,), deleted=clock(4)),
        {"phase": "waiting", "init_exit": 0},
    ),
    (
        "nor does an end for lack of memory end it while its node is short of memory: the pod is replaced",
        None,
        job(),
        pod(
            init={"coat": DONE},
            main={"marvin": exited(137, "OOMKilled", at=clock(4))},
            reason="Evicted",
            message="The node was low on resource: memory. ",
            conditions=(condition("DisruptionTarget", "TerminationByKubelet", "low on memory", at=clock(4)),),
        ),
        {"phase": "waiting", "init_exit": 0},
    ),
    (
        "nor a code of its own in the second of the disruption, by a clock that is a little behind",
        None,
        job(),
        pod(
            init={"coat": DONE},
            main={"marvin": exited(2, at=clock(3, 59))},
            conditions=(DISRUPTION,),
            deleted=clock(4, 30),
        ),
        {"phase": "waiting", "init_exit": 0},
    ),
    (
        "marvin failed long before its pod is drained, which its Job would run again",
        5107,
        job(),
        pod(
            init={"coat": DONE},
            main={"marvin": exited(3, at=clock(2)), "proxy": exited(143, at=clock(4))},
            conditions=(DISRUPTION,),
            deleted=clock(4, 30),
        ),
        {**FAILED_3, "lingers": True},
    ),
    (
        "marvin succeeds in a drained pod whose injected container does not, so that its Job would run it again",
        0,
        job(),
        pod(
            init={"coat": DONE},
            main={"marvin": exited(0, at=clock(4)), "proxy": exited(143, at=clock(4))},
            conditions=(DISRUPTION,),
            deleted=clock(4, 30),
        ),
        {"phase": "succeeded", "lingers": True, "init_exit": 0, "main_exit": 0},
    ),
    (
        "marvin succeeds in a drained pod, which succeeds",
        0,
        job(),
        pod(
            init={"coat": DONE},
            main={"marvin": exited(0, at=clock(4))},
            phase="Succeeded",
            conditions=(DISRUPTION,),
            deleted=clock(4, 30),
        ),
        {"phase": "succeeded", "init_exit": 0, "main_exit": 0},
    ),
    *(
        (
            f"marvin failed long before its kubelet ended the pod: {reason}",
            5107,
            job(FAILED),
            pod(
                init={"coat": DONE},
                main={"marvin": exited(3, at=clock(5)), "proxy": exited(143, at=clock(40))},
                reason=reason,
                message=message,
            ),
            {**FAILED_3, **more},
        )
        for reason, message, more in (
            ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", {}),
            ("Evicted", DISK, {}),
        )
    ),
    (
        "a rejected pod may be replaced, so its Job decides",
        None,
        job(),
        pod(reason="OutOfpods"),
        {"phase": "waiting"},
    ),
    (
        "the only container is called coat (patcher_run)",
        5107,
        job(init="", main="coat"),
        pod(init={"istio-init": exited(7)}, main={"coat": exited(4)}),
        {"phase": "failed", "container": "coat", "main_exit": 4},
    ),
]


@pytest.mark.parametrize(("code", "known", "seen", "wanted"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_the_facts_of(code: int | None, known: Any, seen: Any, wanted: dict[str, Any]) -> None:
    found = observed(known, seen)
    assert facts(found) == wanted
    outcome = classify(found)
    assert (outcome.code if outcome else None) == code


def version(state: dict[str, Any], deletion: str = "", grace: int = 30) -> PodObject:
    """A version of the pod in which marvin has this state. `deletion`: its deletionTimestamp."""
    phase = "Failed" if "terminated" in state else "Running" if "running" in state else "Pending"
    return pod(init={"coat": DONE}, main={"marvin": state}, phase=phase, deleted=deletion, grace=grace)


GOING = version(RUNNING, clock(5, 30))
"""Deleted at 10:05:00, when marvin still ran."""


def stopped(code: int, second: int, *, reason: str = "", removed: int = 0, grace: int = 0) -> PodObject:
    """Its last version: ended at 10:05 and so many seconds, removed by the kubelet at 10:05 and `removed` seconds."""
    return version(exited(code, reason, at=clock(5, second)), clock(5, removed or second + 1), grace)


BEFORE = version(exited(137, at=clock(4, 58)))
STOPS: list[tuple[str, int, Any, tuple[PodObject, ...]]] = [
    ("it ends on SIGTERM at once", 5106, FAILED, (GOING, version(exited(143), clock(5, 30)), stopped(143, 0))),
    ("it ends on SIGTERM and the next version is the last", 5106, FAILED, (GOING, stopped(143, 0))),
    ("a program in Go, process 1, ends on SIGTERM in the same second", 5106, FAILED, (GOING, stopped(2, 0))),
    ("a program ends on SIGTERM a second before it is removed", 5106, FAILED, (GOING, stopped(1, 8))),
    ("a program ends on SIGTERM in the second in which it is removed", 5106, FAILED, (GOING, stopped(1, 8, removed=8))),
    ("SIGKILL ends it after the grace period", 5106, FAILED, (GOING, stopped(137, 30))),
    ("the node's clock is far behind", 5106, FAILED, (GOING, version(exited(143, at=clock(4, 40)), clock(5, 30)))),
    (
        "the node's clock is behind, seen in one version",
        5106,
        FAILED,
        (version(exited(143, at=clock(4, 58)), clock(5, 30)),),
    ),
    ("only the last version is seen: SIGTERM", 5106, FAILED, (stopped(143, 0),)),
    ("only the last version is seen: SIGKILL", 5106, FAILED, (stopped(137, 29, removed=31),)),
    ("only the last version is seen, of a slow kubelet", 5106, FAILED, (stopped(143, 0, removed=25),)),
    ("only the last version is seen, its grace period shortened to 1", 5106, FAILED, (stopped(143, 0, grace=1),)),
    ("only the last version is seen: a code of its own", 5107, FAILED, (stopped(3, 0),)),
    (
        "only the last version is seen: it was killed long before",
        5107,
        FAILED,
        (version(exited(137, at=clock(3, 59)), clock(5), 0),),
    ),
    ("somebody shortens the grace period", 5106, FAILED, (GOING, version(RUNNING, clock(5, 12), 5), stopped(1, 9))),
    (
        "it failed before its pod was deleted, shown later",
        5107,
        FAILED,
        (GOING, version(exited(3, at=clock(4, 59)), clock(5, 30))),
    ),
    ("it was killed before its pod was deleted", 5107, FAILED, (BEFORE, stopped(137, 0))),
    (
        "it was killed two seconds before its pod was deleted",
        5107,
        FAILED,
        (BEFORE, version(exited(137, at=clock(4, 58)), clock(5), 0)),
    ),
    ("it is killed for memory when its pod is deleted", 5104, FAILED, (GOING, stopped(137, 0, reason="OOMKilled"))),
    ("it ends with 0 when its pod is deleted", 0, FAILED, (GOING, stopped(0, 9))),
    ("an old list shows it once more without its deletion", 5106, FAILED, (GOING, version(RUNNING), stopped(2, 0))),
    ("an old list lacked it, and it was not deleted", 5107, FAILED, (deleted(version(RUNNING)), version(exited(143)))),
    (
        "an old list lacked it, and it is deleted later",
        5107,
        FAILED,
        (deleted(version(RUNNING)), BEFORE, stopped(137, 0)),
    ),
    ("its deadline stops it", 5105, DEADLINE[1], (GOING, stopped(143, 0))),
    ("its deadline stops it, and only the last version is seen", 5105, DEADLINE[1], (stopped(143, 0),)),
    ("its deadline stops a program in Go, process 1", 5105, DEADLINE[1], (GOING, stopped(2, 0))),
]


@pytest.mark.parametrize(("code", "end", "versions"), [row[1:] for row in STOPS], ids=[row[0] for row in STOPS])
def test_the_versions_of_a_deleted_pod(code: int, end: Any, versions: tuple[PodObject, ...]) -> None:
    """Seen on Kubernetes 1.34: deletionTimestamp 10:05:30 and 30 s of grace, at the end 10:05:01 and none."""
    last = None
    for each in versions:
        last = later(last, each)
    outcome = classify(observed(job(end), last))
    assert outcome is not None
    assert outcome.code == code


def test_a_pod_that_an_old_list_lacked_goes_on() -> None:
    last = later(deleted(version(CREATING)), version(CREATING))
    assert observed(job(), last).phase == "running"


@pytest.mark.parametrize(
    ("state", "deletion", "until"),
    [
        (RUNNING, "", clock(40, 35)),
        (RUNNING, clock(40, 32), clock(40, 37)),
        (exited(143, at=clock(40)), clock(40, 30), None),
    ],
    ids=["its pod is about to be deleted", "its pod is being deleted", "it has ended"],
)
def test_a_job_that_is_stopped_for_its_deadline_may_still_end_by_itself(
    state: dict[str, Any], deletion: str, until: str | None
) -> None:
    late = job(condition("FailureTarget", *LATE, at=clock(40)))
    seen = observed(late, pod(init={"coat": DONE}, main={"marvin": state}, phase="Running", deleted=deletion))
    assert (seen.timed_out, seen.ends_by) == (True, datetime.fromisoformat(until).timestamp() if until else 0.0)


def test_an_added_init_container_that_never_ended_is_named() -> None:
    """It comes after coat, so the job had begun."""
    stuck = pod(
        init={"coat": DONE, "vault": RUNNING}, main={"marvin": CREATING}, phase="Pending", deleted=clock(40, 30)
    )
    said = observed(job(condition("Failed", *LATE)), stuck).message
    assert "marvin had not started: the init container vault, which is not the job's, had not ended" in said


@pytest.mark.parametrize("removed", [False, True])
def test_a_pod_that_was_lost_is_as_none(removed: bool) -> None:
    """Its image, say, keeps nothing from starting any more, and the same is seen once the pod is removed."""
    pulls = waits("ImagePullBackOff", MISSING)
    drained = pod(
        init={"coat": pulls}, main={"marvin": CREATING}, phase="Pending", conditions=(DISRUPTION,), deleted=clock(4, 30)
    )
    seen = observed(job(), deleted(drained) if removed else drained)
    assert (seen.phase, seen.instance, seen.image_error, seen.scheduled) == ("waiting", "", "", False)
    assert seen.queued_since == datetime.fromisoformat(clock(4)).timestamp()


NO_HOST = PULL + 'failed to do request: Head "https://r/v2/x": dial tcp: lookup r.example on 10.0.0.10:53: no such host'
IMAGES = [
    ("InvalidImageName", 'couldn\'t parse image name "x:y:z": invalid reference format', False),
    ("ErrImageNeverPull", 'Container image "x" is not present with pull policy of Never', False),
    ("ErrImagePull", MISSING, False),
    ("ImagePullBackOff", MISSING, False),
    ("ErrImagePull", PULL + "pull access denied, repository does not exist or may require authorization", False),
    ("ErrImagePull", PULL + "unexpected status from HEAD request to https://r/v2/x: 401 Unauthorized", False),
    ("ErrImagePull", PULL + "manifest unknown", False),
    ("ErrImagePull", NO_HOST, True),
    ("ErrImagePull", PULL + "dial tcp 10.0.0.1:5000: connect: connection refused", True),
    ("ErrImagePull", PULL + "dial tcp 10.0.0.1:443: i/o timeout", True),
    ("ErrImagePull", PULL + "context deadline exceeded", True),
    ("ErrImagePull", PULL + "unexpected status from HEAD request to https://r/v2/x: 503 Service Unavailable", True),
    ("ErrImagePull", PULL + "toomanyrequests: You have reached your unauthenticated pull rate limit", True),
    ("ErrImagePull", PULL + "429 Too Many Requests", True),
    ("ErrImagePull", PULL + "denied: rate limit exceeded", True),
    ("ErrImagePull", "pull QPS exceeded", True),
    ("ImagePullBackOff", 'Back-off pulling image "r.example/denied/not found:1"', True),
    ("ErrImagePull", PULL.replace("not-found", "timeout-503") + "r.example/timeout-503/coat:1: not found", False),
    ("RegistryUnavailable", "", True),
]


@pytest.mark.parametrize(("reason", "message", "passes"), IMAGES)
def test_an_image_error_is_definite_or_may_pass(reason: str, message: str, passes: bool) -> None:
    seen = observed(job(), pod(init={"coat": waits(reason, message)}, main={"marvin": CREATING}, phase="Pending"))
    assert seen.image_error == f"coat: {reason}: {message}"
    assert seen.registry_error is passes


class TestWhatHoldsUpAJob:
    def test_an_injected_init_container_that_cannot_start(self) -> None:
        states = {"istio-init": waits("ErrImagePull", MISSING), "coat": CREATING}
        seen = observed(job(), pod(init=states, main={"marvin": CREATING}, phase="Pending"))
        assert seen.image_error.startswith("istio-init: ErrImagePull")

    def test_not_an_injected_container_beside_marvin(self) -> None:
        states = {"marvin": RUNNING, "proxy": waits("CreateContainerError", "no")}
        seen = observed(job(), pod(init={"coat": DONE}, main=states, phase="Pending"))
        assert facts(seen) == {"phase": "running", "init_exit": 0}

    def test_not_a_native_sidecar_that_is_started_again_beside_marvin(self) -> None:
        states = {"istio-proxy": waits("ErrImagePull", MISSING), "coat": DONE}
        seen = observed(job(), pod(init=states, main={"marvin": RUNNING}, phase="Running"))
        assert facts(seen) == {"phase": "running", "init_exit": 0}

    def test_its_own_secret_is_missing_until_the_submit_is_repeated(self) -> None:
        refused = waits("CreateContainerConfigError", 'secret "analysis-1-0a1b" not found')
        seen = observed(job(), pod(init={"coat": refused}, phase="Pending"))
        assert facts(seen) == {"phase": "waiting", "incomplete": True}

    def test_its_own_secret_may_have_come_before_its_pod_was_deleted(self) -> None:
        refused = waits("CreateContainerConfigError", 'secret "analysis-1-0a1b" not found')
        last_seen = deleted(pod(init={"coat": refused}, phase="Pending"))
        seen = observed(job(condition("Failed", "BackoffLimitExceeded", at=clock(10))), last_seen)
        assert (seen.incomplete, seen.disrupted, classify(seen).code) == (False, True, 5106)  # type: ignore[union-attr]

    def test_any_other_secret_is_a_wrong_configuration(self) -> None:
        refused = waits("CreateContainerConfigError", 'secret "other" not found')
        seen = observed(job(), pod(init={"coat": refused}, phase="Pending"))
        assert seen.configuration_error == 'coat: CreateContainerConfigError: secret "other" not found'
        assert not seen.incomplete


def at(minute: int) -> float:
    return observed(job(condition("Complete", at=clock(minute))), None).ended or 0


class TestWaiting:
    def test_it_is_queued_from_its_creation(self) -> None:
        assert observed(job(), None).queued_since == at(0)
        assert observed(job(), pod(init={"coat": CREATING}, phase="Pending")).queued_since == at(0)

    def test_no_more_once_a_container_of_its_own_has_started(self) -> None:
        started = pod(init={"istio-init": DONE, "coat": RUNNING}, phase="Pending")
        assert observed(job(), started).queued_since is None
        refused = pod(init={"coat": DONE}, main={"marvin": waits("ErrImagePull", MISSING)}, phase="Pending")
        assert observed(job(), refused).queued_since is None
        injected = pod(init={"istio-init": RUNNING, "coat": CREATING}, phase="Pending")
        assert observed(job(), injected).queued_since == at(0)

    def test_a_queue_holds_it_and_the_wait_starts_when_it_is_resumed(self) -> None:
        labels = {"kueue.x-k8s.io/queue-name": "batch"}
        held = observed(job(condition("Suspended", at=clock(0)), suspend=True, labels=labels), None)
        assert (held.held, held.queued_since, held.phase) == ("queue batch", at(0), "waiting")
        resumed = observed(job(condition("Suspended", at=clock(7), status="False"), labels=labels), None)
        assert (resumed.held, resumed.queued_since) == ("", at(7))

    def test_no_limit_is_counted_until_the_cluster_says_when_it_was_resumed(self) -> None:
        resumed = observed(job(condition("Suspended", at=clock(0))), None)
        assert (resumed.phase, resumed.held, resumed.queued_since) == ("waiting", "", None)

    def test_a_job_that_its_queue_stops_again_is_held_again(self) -> None:
        stopped = pod(init={"coat": DONE}, main={"marvin": exited(143, at=clock(6))}, deleted=clock(6, 30))
        seen = observed(job(condition("Suspended", at=clock(6)), suspend=True), stopped)
        assert (seen.phase, seen.held != "", seen.queued_since) == ("waiting", True, at(6))

    def test_its_pod_is_not_to_be_scheduled_yet(self) -> None:
        gated = condition("PodScheduled", "SchedulingGated", "gated", status="False")
        seen = observed(job(), pod(phase="Pending", conditions=(gated,)))
        assert (seen.held, seen.unschedulable) == ("its pod's schedulingGates", "")

    def test_the_wait_of_a_pod_that_replaces_a_disrupted_one_starts_anew(self) -> None:
        assert observed(job(), pod(phase="Pending", made=clock(20))).queued_since == at(20)


class TestWhatIsKnownOfTheReport:
    def test_the_time_of_the_end_is_the_containers(self) -> None:
        failed = pod(init={"coat": DONE}, main={"marvin": exited(3, at=clock(5))})
        assert observed(job(FAILED), failed).ended == at(5)
        assert observed(job(FAILED), None).ended == at(9)

    @pytest.mark.parametrize("name", [REPORTED, SET_ASIDE])
    def test_a_label_says_that_it_is_reported(self, name: str) -> None:
        assert observed(job(FAILED, labels={name: "x"}), None).reported

    def test_the_annotation_of_release_0_1_says_it_too(self) -> None:
        seen = observed(job(FAILED, annotations={REPORTED: "timed_out"}), None)
        assert (seen.reported, seen.published) == (True, "timed_out")

    def test_a_confirmation_is_no_end(self) -> None:
        seen = observed(job(FAILED, annotations={**CANCELLATION, REPORTED: "cancelled"}), None)
        assert (seen.reported, seen.published) == (True, "")

    def test_a_cancel_that_came_later_is_still_to_be_confirmed(self) -> None:
        stored = '{"reason": "timed_out", "code": 5105, "hmessage": "m"}'
        annotations = {**CANCELLATION, PUBLISHED: "timed_out", ENDED: stored}
        seen = observed(job(FAILED, annotations=annotations), None)
        assert (seen.reported, seen.published, seen.cancelled) == (False, "timed_out", True)
        assert seen.ended_as is not None
        assert seen.ended_as.code == 5105
        assert seen.cancellation is not None
        assert seen.cancellation.run_id == "c"

    def test_an_outcome_that_was_edited_is_none(self) -> None:
        assert observed(job(FAILED, annotations={ENDED: "{"}), None).ended_as is None

    def test_identity_and_place(self) -> None:
        seen = observed(job(), None)
        assert (seen.identity, seen.place, seen.name) == ("uid-1", "jobs", "analysis-1")

    def test_a_cancelled_job_that_had_succeeded_is_a_success(self) -> None:
        assert observed(job(condition("Complete"), annotations=CANCELLATION), None).phase == "succeeded"

    def test_nobody_ends_twice_what_lingers(self) -> None:
        open_ = pod(init={"coat": DONE}, main={"marvin": exited(0), "proxy": RUNNING}, phase="Running")
        ended = {ENDED: '{"reason": "succeeded", "code": 0, "hmessage": "m"}'}
        for each in (job(annotations=ended), job(annotations=CANCELLATION), job(condition("FailureTarget", *LATE))):
            assert not observed(each, open_).lingers

    def test_a_job_that_release_0_1_cancelled_while_it_was_suspended_has_ended(self) -> None:
        known = job(condition("Suspended"), suspend=True, annotations=CANCELLATION)
        assert observed(known, None).phase == "failed"
        assert known.metadata.annotations[FINGERPRINT]
