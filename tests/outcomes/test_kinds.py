"""Other members of the kinds of ends in test_kubernetes.py: what else kubelets, runtimes and policies show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.config.types import LimitsSection
from runner.drivers.kubernetes.events import EventObject, wait
from runner.drivers.kubernetes.manifest import CONTAINERS
from runner.drivers.kubernetes.objects import JobObject
from runner.drivers.kubernetes.pods.versions import latest_pod
from runner.observation import Observation
from runner.outcomes import classify
from runner.tracker.ledger.judge import Passed, Waits, judge
from tests.outcomes.test_kubernetes import FAILED_3, LOST, NO_PROGRAM, PULL
from tests.unit.drivers.kubernetes.objects import (
    CREATING,
    DONE,
    FAILED,
    LATE,
    RUNNING,
    SECRET_NAME,
    TARGET,
    clock,
    condition,
    exited,
    facts,
    job,
    job_document,
    observed,
    pod,
    waits,
)

RUNC_OOM = (
    "OCI runtime create failed: unable to start container process: container init was OOM-killed (limit too low?)"
)
LONG = "Pod was active on the node longer than the specified deadline"
MARVIN_3 = {"coat": DONE}, {"marvin": exited(3)}


def announced(minute: int, second: int = 0, reason: str = "TerminationByKubelet") -> Any:
    return condition("DisruptionTarget", reason, "the kubelet says so", at=clock(minute, second))


def ended(state: Any, *conditions: Any, deleted: str = "", **status: Any) -> Any:
    """The pod of a failed Job in which marvin has this state."""
    return pod(init={"coat": DONE}, main={"marvin": state}, conditions=conditions, deleted=deleted, **status)


ENDS: list[tuple[str, int | None, Any, Any]] = [
    ("the pod's own deadline, which a policy sets", 5105, FAILED, ended(exited(143), reason=LATE[0], message=LONG)),
    ("the pod's own deadline, and a code of its own", 5105, FAILED, ended(exited(1), reason=LATE[0], message=LONG)),
    (
        "the pod's own deadline, then its pod is deleted",
        5105,
        FAILED,
        ended(exited(143), reason=LATE[0], deleted=clock(6, 30)),
    ),
    ("the pod's own deadline after a success", 0, FAILED, ended(exited(0), reason=LATE[0], message=LONG)),
    ("the pod's own deadline, out of memory before", 5104, FAILED, ended(exited(137, "OOMKilled"), reason=LATE[0])),
    *(
        (f"the kubelet rejects the pod: {reason}", 5106, FAILED, pod(reason=reason, message="Pod was rejected: x"))
        for reason in (
            *("OutOfephemeral-storage", "OutOfnvidia.com/gpu", "NodePorts", "TopologyAffinityError", "TaintToleration"),
            *("PodOSNotSupported", "UnexpectedPredicateFailureType", "InvalidNodeInfo", "VolumeLimit", "NodeShutdown"),
        )
    ),
    ("a kubelet before 1.28 rejects the pod", 5106, FAILED, pod(reason="PodOSSelectorNodeLabelDoesNotMatch")),
    ("the node is under pressure and rejects the pod", 5106, FAILED, pod(reason="Evicted", message="The node had ...")),
    *(
        (f"the kubelet refuses a security setting: {reason}", 5108, FAILED, pod(reason=reason, message=message))
        for reason, message in (
            ("SysctlForbidden", "forbidden sysctl: net.x"),
            ("AppArmor", "Pod was rejected: Cannot enforce"),
        )
    ),
    (
        "evicted for the disk limit of an injected container",
        5106,
        FAILED,
        ended(
            exited(137), reason="Evicted", message='Container proxy exceeded its local ephemeral storage limit "1Mi". '
        ),
    ),
    (
        "evicted for the disk limit of coat",
        5110,
        FAILED,
        pod(
            init={"coat": exited(137)},
            main={"marvin": CREATING},
            reason="Evicted",
            message='Container coat exceeded its local ephemeral storage limit "1Mi". ',
        ),
    ),
    ("marvin failed, then its node evicted the pod", 5107, FAILED, ended(exited(3), announced(6), reason="Evicted")),
    (
        "marvin ends as its node evicts the pod",
        5106,
        FAILED,
        ended(exited(1), announced(5), reason="Evicted"),
    ),
    ("a killed marvin was evicted", 5106, FAILED, ended(exited(137), announced(5, 1), reason="Evicted")),
    ("marvin failed, then its node shut down", 5107, FAILED, ended(exited(3), announced(6), reason="Terminated")),
    (
        "PodGC finds the pod of a node that is gone",
        5106,
        FAILED,
        ended(RUNNING, announced(6, reason="DeletionByPodGC"), phase="Failed"),
    ),
    *(
        (f"a disruption: {reason}", 5106, FAILED, ended(exited(143, at=clock(6)), announced(6, reason=reason)))
        for reason in ("PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC")
    ),
    (
        "PodGC removes the pod of a marvin that had failed",
        5107,
        FAILED,
        ended(exited(3), announced(9, reason="DeletionByPodGC"), deleted=clock(9)),
    ),
    (
        "coat cannot be started for lack of memory",
        5104,
        FAILED,
        pod(init={"coat": exited(128, "StartError", RUNC_OOM)}, main={"marvin": CREATING}),
    ),
    ("marvin cannot be started for lack of memory", 5104, FAILED, ended(exited(128, "StartError", RUNC_OOM))),
    ("marvin's program cannot be run by Docker", 5108, FAILED, ended(exited(127, "ContainerCannotRun", NO_PROGRAM))),
    ("a child of marvin was killed for memory, and marvin succeeded", 0, FAILED, ended(exited(0, "OOMKilled"))),
    (
        "a child of coat was killed for memory, and marvin failed",
        5107,
        FAILED,
        pod(init={"coat": exited(0, "OOMKilled", at=clock(1))}, main={"marvin": exited(3)}),
    ),
    (
        "an injected native sidecar ran out of memory, and marvin failed",
        5107,
        FAILED,
        pod(init={"proxy": exited(137, "OOMKilled"), "coat": DONE}, main={"marvin": exited(3)}),
    ),
    ("coat's end was lost, marvin's was not", 5107, FAILED, pod(init={"coat": LOST}, main={"marvin": exited(3)})),
    ("only marvin's status is there", 5107, FAILED, pod(main={"marvin": exited(3)})),
    ("only coat's status is there", 5103, FAILED, pod(init={"coat": exited(2)})),
    ("a pod without statuses has succeeded", 0, None, pod(phase="Succeeded")),
    ("a pod without statuses has succeeded, and something was left open", 0, LATE, pod(phase="Succeeded")),
    ("a pod without statuses has failed", 5199, FAILED, pod()),
    ("an end without a time, of a pod that nobody stopped", 5107, FAILED, ended(exited(3, at=None))),
    ("SuccessCriteriaMet is a success", 0, ("SuccessCriteriaMet", "CompletionsReached"), None),
    ("another policy fails the Job", 5107, ("FailureTarget", "PodFailurePolicy", "exit code 3"), ended(exited(3))),
]


def job_that(end: Any) -> Any:
    if end is None:
        return job()
    return job(condition("Failed", *LATE)) if end is LATE else job(end)


@pytest.mark.parametrize(("code", "end", "seen"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_the_end_of(code: int | None, end: Any, seen: Any) -> None:
    outcome = classify(observed(job_that(end), seen))
    assert (outcome.code if outcome else None) == code


@pytest.mark.parametrize("exit_code", [*range(1, 128, 9), 126, 127, 128, 129, 134, 137, 139, 143, 192, 193, 254, 255])
def test_every_exit_code_is_the_program_s_own_and_a_signal_is_named(exit_code: int) -> None:
    """Reason `Error` alone says nothing but the code: 137 is a SIGKILL that nobody explains."""
    for container, init, main, expected in (
        ("marvin", DONE, exited(exit_code), 5107),
        ("coat", exited(exit_code), CREATING, 5103),
    ):
        seen = observed(job(TARGET), pod(init={"coat": init}, main={"marvin": main}))
        outcome = classify(seen)
        assert outcome is not None
        assert (outcome.code, seen.container) == (expected, container)
        assert seen.signal == (exit_code - 128 if 128 < exit_code < 193 else 0)
        assert ("killed by SIG" in outcome.err) == (exit_code in (129, 134, 137, 139, 143, 192))


@pytest.mark.parametrize("reason", ["SysctlForbidden", "AppArmor"])
def test_a_refused_security_setting_is_named_and_is_no_disruption(reason: str) -> None:
    seen = observed(job(FAILED), pod(reason=reason, message="forbidden", deleted=clock(6)))
    assert (seen.configuration_error, seen.disrupted) == (f"{reason}: forbidden", False)


REASONS = ("RunInitContainerError", "VerifyNonRootError", "PreStartHookError", "PostStartHookError")


@pytest.mark.parametrize("reason", [*REASONS, "CreateContainerError", "RunContainerError", "PreCreateHookError"])
def test_a_container_that_cannot_start_is_misconfigured(reason: str) -> None:
    seen = observed(job(), ended(waits(reason, "no"), phase="Pending"))
    assert facts(seen) == {"phase": "waiting", "configuration_error": f"marvin: {reason}: no", "init_exit": 0}


@pytest.mark.parametrize(
    "message",
    [
        'configmap "settings" not found',
        "couldn't find key TOKEN in Secret jobs/other",
        "couldn't find key TOKEN in ConfigMap jobs/settings",
        'failed to prepare subPath for volumeMount "data" of container "coat"',
        "container has runAsNonRoot and image will run as root",
        'secret "analysis-1-0a1b-more" not found',
        f'configmap "{SECRET_NAME}" not found',
    ],
)
def test_what_the_node_refuses_is_definite(message: str) -> None:
    refused = waits("CreateContainerConfigError", message)
    seen = observed(job(), pod(init={"coat": refused}, main={"marvin": CREATING}, phase="Pending"))
    assert (bool(seen.configuration_error), seen.registry_error, seen.incomplete) == (True, False, False)


@pytest.mark.parametrize("kind", ["secret", "secrets"])
def test_its_own_secret_is_missing_however_the_kubelet_reads_secrets(kind: str) -> None:
    refused = waits("CreateContainerConfigError", f'{kind} "{SECRET_NAME}" not found')
    assert facts(observed(job(), pod(init={"coat": refused}, phase="Pending"))) == {
        "phase": "waiting",
        "incomplete": True,
    }


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),
        ("CreateContainerError", "context deadline exceeded"),
        ("CreateContainerError", 'failed to reserve container name "marvin": name "marvin" is reserved for "4f1d"'),
        ("CreateContainerConfigError", 'object "jobs"/"settings" not registered'),
        ("CreateContainerConfigError", "services have not yet been read at least once, cannot construct envvars"),
        ("CreateContainerError", 'the container name "k8s_marvin" is already in use by 4f1d. You have to remove it'),
        ("CreateContainerError", "Kubelet may be retrying requests that are timing out in CRI-O due to system load"),
        ("CreateContainerError", "failed to create containerd container: mkdir /x: no space left on device"),
        ("RunContainerError", "rpc error: code = Unavailable desc = transport is closing"),
    ],
)
def test_a_node_that_is_slow_may_recover(reason: str, message: str) -> None:
    seen = observed(job(), ended(waits(reason, message), phase="Pending"))
    assert (bool(seen.configuration_error), seen.registry_error) == (True, True)


IMAGES = [
    (
        "ErrImagePull",
        "initializing source docker://r.example/coat:512: reading manifest 512 in r.example/coat: manifest unknown",
        False,
    ),
    ("ImagePullBackOff", 'Back-off pulling image "x": SignatureValidationFailed: Source image rejected: none', False),
    ("ErrImagePull", "Source image rejected: A signature was required, but no signature exists", False),
    ("ErrImagePull", "Error response from daemon: manifest for timeout:1 not found: manifest unknown", False),
    ("ErrImagePull", "image timeout:1 not found", False),
    ("ErrImagePull", "pull access denied for timeout, repository does not exist", False),
    ("ErrImagePull", PULL + "unexpected status code 404", False),
    ("ErrImagePull", "reading manifest 1 in r.example/a: StatusCode: 404, <html>", False),
    ("ErrImagePull", "reading manifest 1 in r.example/a: StatusCode: 503, <html>", True),
    ("ErrImagePull", "no basic auth credentials", False),
    ("ErrImagePull", "choosing image instance: no image found in manifest list for architecture arm64", False),
    ("ErrImagePull", "Error response from daemon: invalid reference format: repository name must be lowercase", False),
    ("ImageInspectError", 'Failed to inspect image "a:1": rpc error: code = Unknown desc = broken', True),
    ("SignatureValidationFailed", "image signature validation failed: timeout", False),
    ("ErrImagePull", PULL + "failed to copy: httpReadSeeker: failed open: unexpected EOF", True),
    ("ErrImagePull", PULL + "write /var/lib/x: no space left on device", True),
]


@pytest.mark.parametrize(("reason", "message", "passes"), IMAGES)
def test_an_image_error_is_definite_or_may_pass(reason: str, message: str, passes: bool) -> None:
    seen = observed(job(), pod(init={"coat": waits(reason, message)}, main={"marvin": CREATING}, phase="Pending"))
    assert (bool(seen.image_error), seen.registry_error) == (True, passes)


class TestTheWait:
    def test_the_scheduler_fails(self) -> None:
        broken = condition("PodScheduled", "SchedulerError", "binding rejected", status="False")
        assert observed(job(), pod(phase="Pending", conditions=(broken,))).unschedulable == "binding rejected"

    def test_by_how_much_its_pod_is_late(self) -> None:
        suspended = condition("Suspended", at=clock(7), status="False")
        for known, delay in ((job(), 1200.0), (job(suspended), 780.0)):
            seen = observed(known, pod(phase="Pending", made=clock(20)))
            assert seen.pod_delay == delay
            assert (seen.queued_since or 0.0) - delay == observed(known, None).queued_since

    def test_a_node_has_the_pod(self) -> None:
        assert not observed(job(), None).scheduled
        assert not observed(job(), pod(phase="Pending")).scheduled
        assert observed(job(), pod(phase="Pending", conditions=(condition("PodScheduled"),))).scheduled
        assert observed(job(), pod(init={"coat": CREATING}, phase="Pending")).scheduled


@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume", "FailedMapVolume"])
def test_only_an_event_shows_that_a_volume_is_missing(reason: str) -> None:
    seen = observed(job(), pod(init={"coat": CREATING}, main={"marvin": CREATING}, phase="Pending"))
    happened = [EventObject(reason="Scheduled"), EventObject(reason=reason, message='configmap "x" not found')]
    assert wait(seen, happened) == {"configuration_error": 'configmap "x" not found'}
    assert wait(seen, [*happened, EventObject(reason="Pulling")]) == {}


def test_containers_are_found_in_any_order_and_beside_others() -> None:
    states = {"z": exited(1), "marvin": exited(3), "a": LOST}
    found = facts(observed(job(FAILED), pod(init={"y": exited(5), "coat": DONE, "b": RUNNING}, main=states)))
    assert found == FAILED_3


def test_a_policy_may_add_containers_to_the_job_itself() -> None:
    """Policies for pods are often applied to the template of a Job as well."""
    document = job_document(FAILED, annotations={CONTAINERS: "coat marvin"})
    template = document["spec"]["template"]["spec"]
    template["initContainers"].insert(0, {"name": "proxy-init"})
    template["containers"].insert(0, {"name": "proxy"})
    known = msgspec.convert(document, JobObject)
    assert (known.init, known.main) == ("coat", "marvin")
    seen = pod(init={"proxy-init": DONE, "coat": DONE}, main={"proxy": exited(0), "marvin": exited(3)})
    assert facts(observed(known, seen)) == FAILED_3
    alone = msgspec.convert({**document, "metadata": {"name": "a", "annotations": {CONTAINERS: "coat"}}}, JobObject)
    assert (alone.init, alone.main) == ("", "coat")


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_pods_of_one_second_the_one_that_is_not_deleted_is_later(turned: bool) -> None:
    first, second = pod(name="a", deleted=clock(0, 30)), pod(name="b", init={"coat": RUNNING}, phase="Pending")
    assert latest_pod(*((second, first) if turned else (first, second))) is second


WAITS: list[tuple[str, dict[str, Any], float, str]] = [
    ("a definite image error", {"image_error": "not found"}, 30.0, "image_unavailable"),
    ("an image error that may pass", {"image_error": "503", "registry_error": True}, 300.0, "image_unavailable"),
    ("a definite configuration error", {"configuration_error": "no such key"}, 30.0, "misconfigured"),
    ("a slow node", {"configuration_error": "deadline", "registry_error": True}, 300.0, "misconfigured"),
]


@pytest.mark.parametrize(("facts_of", "limit", "reason"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS])
def test_at_its_limit_and_not_before(facts_of: dict[str, Any], limit: float, reason: str) -> None:
    seen = Observation(name="j", driver="d", pool="p", phase="waiting", created=0.0, **facts_of)
    assert judge(seen, limit - 0.001, 0.0, LimitsSection()) == Waits(pytest.approx(0.001))
    passed = judge(seen, limit, 0.0, LimitsSection())
    assert isinstance(passed, Passed)
    assert passed.outcome.reason == reason
