"""From what the API servers show to the outcome and to what an operator reads, for what others do to a job's pod.

Each row is a situation: a mesh, a queue, a policy, an autoscaler, a runtime. A job that waits is judged when its limit
has passed.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.cli.explaining import lines
from runner.config.types import LimitsSection
from runner.drivers.kubernetes.events import EventObject, refusal, wait
from runner.drivers.kubernetes.objects import JobObject, PodObject
from runner.drivers.kubernetes.observation import observation
from runner.observation import Observation, Outcome
from runner.outcomes import classify, contradicts
from runner.tracker.advice import wait_of
from runner.tracker.ledger.judge import Passed, Waits, judge
from runner.tracker.ledger.record import merged
from tests.outcomes.test_kubernetes import LOST, PULL
from tests.unit.drivers.kubernetes.objects import (
    CREATING,
    DONE,
    FAILED,
    LATE,
    RUNNING,
    clock,
    condition,
    exited,
    job_document,
    pod_document,
    waits,
)

LIMITS = LimitsSection()
ASSIGNED = condition("PodScheduled")
TAINTED = condition(
    "DisruptionTarget", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", clock(4)
)
FULL = ("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")
NETWORK = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox"
    ' "4f1d": plugin type="calico" failed (add): stat /var/lib/calico/nodename: no such file or directory'
)
CNI = (
    "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    " message:Network plugin returns error: cni plugin not initialized"
)
UNMOUNTED = (
    "Unable to attach or mount volumes: unmounted volumes=[credentials], unattached volumes=[], failed to process"
    " volumes=[]: timed out waiting for the condition"
)
NO_SECRET = 'MountVolume.SetUp failed for volume "credentials" : secret "artifacts" not found'
IN_USE = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other'
NO_DRIVER = (
    'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to create'
    " newCsiDriverClient: driver name csi.example not found in the list of registered CSI drivers"
)
CRUN = "OOM: the memory limit could be too low: read from the init process"
TOO_LITTLE = "set memory limit 4194304 too low; should be at least 12582912 bytes"


def starting(**rest: Any) -> dict[str, Any]:
    """A pod that has a node, and no own container that has started."""
    init = {**rest.pop("before", {}), "coat": rest.pop("coat", CREATING)}
    main = {"marvin": CREATING, **rest.pop("after", {})}
    return pod_document(init=init, main=main, phase="Pending", conditions=(ASSIGNED,), **rest)


def with_status(pod: dict[str, Any], **status: Any) -> dict[str, Any]:
    """The pod with more in the status of its first init container."""
    pod["status"]["initContainerStatuses"][0].update(status)
    return pod


def happened(reason: str, message: str, minute: int = 1) -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": clock(minute), "eventTime": None}


SCHEDULED = happened("Scheduled", "Successfully assigned jobs/analysis-1-x to node-1", 0)

Situation = tuple[str, int, dict[str, Any], dict[str, Any] | None, tuple[dict[str, Any], ...], str]

WAITING: list[Situation] = [
    (
        "the node makes no sandbox for the pod",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedCreatePodSandBox", NETWORK)),
        f"Starting: FailedCreatePodSandBox: {NETWORK}",
    ),
    (
        "the node's network is not ready",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("NetworkNotReady", CNI)),
        f"Starting: NetworkNotReady: {CNI}",
    ),
    (
        "the runtime class of a policy has no handler on the node",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedCreatePodSandBox", 'no runtime for "gvisor" is configured')),
        'Starting: FailedCreatePodSandBox: no runtime for "gvisor" is configured',
    ),
    (
        "the pod's cgroup cannot be made",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedCreatePodContainer", "unable to ensure pod container exists: x")),
        "Starting: FailedCreatePodContainer: unable to ensure",
    ),
    (
        "devices of a claim cannot be prepared",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedPrepareDynamicResources", "Failed to prepare dynamic resources: x")),
        "Starting: FailedPrepareDynamicResources: Failed to prepare",
    ),
    (
        "the sandbox was made at last, and the image is pulled",
        5102,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedCreatePodSandBox", NETWORK), happened("Pulling", 'Pulling image "i"', 2)),
        "Starting: nothing is known to be wrong",
    ),
    (
        "a secret is missing, and the kubelet's summary came last",
        5108,
        job_document(),
        starting(),
        (SCHEDULED, happened("FailedMount", NO_SECRET), happened("FailedMount", UNMOUNTED, 3)),
        NO_SECRET,
    ),
    (
        "only the kubelet's summary is left",
        5108,
        job_document(),
        starting(),
        (happened("FailedMount", UNMOUNTED),),
        "Unable to attach or mount volumes",
    ),
    ("a volume is in use", 5108, job_document(), starting(), (happened("FailedAttachVolume", IN_USE),), "Multi-Attach"),
    ("a node's volume driver starts", 5108, job_document(), starting(), (happened("FailedMount", NO_DRIVER),), "Mount"),
    (
        "a native sidecar before coat crashes again and again",
        5102,
        job_document(),
        starting(before={"istio-proxy": waits("CrashLoopBackOff", "back-off 40s restarting failed container")}),
        (),
        "Starting: istio-proxy, which is not the job's: CrashLoopBackOff: back-off 40s",
    ),
    (
        "an injected init container never ends",
        5102,
        job_document(),
        starting(before={"vault-agent-init": RUNNING}),
        (),
        "Starting: the init container vault-agent-init, which is not the job's, runs",
    ),
    (
        "an injected init container has ended, the next one runs",
        5102,
        job_document(),
        starting(before={"istio-init": DONE, "istio-validation": RUNNING}),
        (),
        "Starting: the init container istio-validation",
    ),
    (
        "a native sidecar before coat has started, and coat's image is pulled",
        5102,
        job_document(),
        with_status(starting(before={"istio-proxy": RUNNING}), ready=True),
        (SCHEDULED, happened("Pulling", 'Pulling image "i"', 2)),
        "Starting: nothing is known to be wrong",
    ),
    (
        "an own container waits for a reason that is new",
        5102,
        job_document(),
        starting(coat=waits("CreatePodSandboxError", "no sandbox")),
        (),
        "Starting: coat: CreatePodSandboxError: no sandbox",
    ),
    (
        "the image of an injected init container is missing",
        5101,
        job_document(),
        starting(before={"proxy": waits("ErrImagePull", PULL + "r.example/proxy:1: not found")}),
        (),
        "ErrImagePull: proxy: ",
    ),
    (
        "the configuration of an injected init container is missing",
        5108,
        job_document(),
        starting(before={"proxy": waits("CreateContainerConfigError", 'configmap "istio-ca" not found')}),
        (),
        'CreateContainerConfigError: proxy: configmap "istio-ca" not found',
    ),
    (
        "the memory limit is too small for CRI-O to make the container",
        5104,
        job_document(),
        starting(coat=waits("CreateContainerError", TOO_LITTLE)),
        (),
        f"CreateContainerError: coat: {TOO_LITTLE}",
    ),
    (
        "the memory limit is too small for crun",
        5104,
        job_document(),
        starting(coat=waits("CreateContainerError", f"container create failed: {CRUN}")),
        (),
        f"CreateContainerError: coat: container create failed: {CRUN}",
    ),
    (
        "the memory limit is too small for runc, each time anew",
        5104,
        job_document(),
        starting(coat=waits("RunContainerError", "container init was OOM-killed (memory limit too low?): unknown")),
        (),
        "RunContainerError: coat: container init was OOM-killed",
    ),
    (
        "CRI-O finds no program",
        5108,
        job_document(),
        starting(coat=waits("CreateContainerError", "executable file `/toolbox/coat` not found in $PATH")),
        (),
        "CreateContainerError: coat: executable file",
    ),
    (
        "CRI-O knows no registry for a short name",
        5101,
        job_document(),
        starting(
            coat=waits("ErrImagePull", 'short-name "coat:1" did not resolve to an alias and no unqualified-search')
        ),
        (),
        "ErrImagePull: coat: short-name",
    ),
    (
        "a quota",
        5111,
        job_document(),
        None,
        (happened("FailedCreate", 'Error creating: pods "a" is forbidden: exceeded quota: compute'),),
        'Not admitted: pods "a" is forbidden: exceeded quota: compute',
    ),
    (
        "a quota that left room once, and the pod was lost",
        5102,
        job_document(),
        None,
        (happened("FailedCreate", "Error creating: exceeded quota"), happened("SuccessfulCreate", "Created pod", 3)),
        "Starting: nothing is known to be wrong",
    ),
    (
        "a quota that left room once, and does not for the next pod",
        5111,
        job_document(),
        None,
        (happened("SuccessfulCreate", "Created pod"), happened("FailedCreate", "Error creating: exceeded quota", 3)),
        "Not admitted: exceeded quota",
    ),
    (
        "a policy's webhook",
        5111,
        job_document(),
        None,
        (happened("FailedCreate", 'Error creating: admission webhook "v.kyverno.svc" denied the request: no root'),),
        'Not admitted: admission webhook "v.kyverno.svc" denied the request',
    ),
    (
        "a webhook that does not answer",
        5111,
        job_document(),
        None,
        (happened("FailedCreate", 'Error creating: Internal error occurred: failed calling webhook "m": EOF'),),
        "Not admitted: Internal error occurred: failed calling webhook",
    ),
    (
        "a service account is missing",
        5111,
        job_document(),
        None,
        (happened("FailedCreate", 'Error creating: pods "a" is forbidden: error looking up service account'),),
        'Not admitted: pods "a" is forbidden: error looking up service account',
    ),
    (
        "something else manages the Job",
        5102,
        {**job_document(), "spec": {**job_document()["spec"], "managedBy": "kueue.x-k8s.io/multikueue"}},
        None,
        (),
        "Starting: its Job is managed by kueue.x-k8s.io/multikueue",
    ),
    *(
        (
            f"{what}, and a quota refuses the next one",
            5111,
            job_document(),
            lost,
            (
                happened("FailedCreate", "Error creating: exceeded quota", 6),
                happened("SuccessfulCreate", "Created pod: x"),
            ),
            "Not admitted: exceeded quota",
        )
        for what, lost in (
            (
                "a pod was drained while marvin ran, and is gone",
                pod_document(
                    init={"coat": DONE},
                    main={"marvin": exited(143)},
                    conditions=(ASSIGNED, TAINTED),
                    deleted=clock(5),
                ),
            ),
            (
                "a pod was evicted while marvin ran, and stays",
                pod_document(
                    init={"coat": DONE},
                    main={"marvin": exited(137)},
                    reason="Evicted",
                    message="The node was low on resource: memory.",
                    conditions=(ASSIGNED, TAINTED),
                ),
            ),
            (
                "a pod was evicted before it ran",
                pod_document(
                    init={"coat": CREATING}, main={"marvin": CREATING}, reason="Evicted", conditions=(ASSIGNED, TAINTED)
                ),
            ),
        )
    ),
    (
        "an autoscaler adds nodes",
        5102,
        job_document(),
        pod_document(phase="Pending", conditions=(condition("PodScheduled", *FULL, status="False"),)),
        (happened("FailedScheduling", FULL[1]), happened("TriggeredScaleUp", "pod triggered scale-up: x", 2)),
        f"Unschedulable: {FULL[1]}",
    ),
    (
        "a gang is not complete",
        5102,
        job_document(),
        pod_document(
            phase="Pending",
            conditions=(condition("PodScheduled", "Unschedulable", "pod group is not ready", status="False"),),
        ),
        (),
        "Unschedulable: pod group is not ready",
    ),
]


def read(job: dict[str, Any], pod: dict[str, Any] | None, events: Any = ()) -> Observation:
    """What is known once the events were read."""
    seen = observation(
        msgspec.json.decode(msgspec.json.encode(job), type=JobObject),
        msgspec.json.decode(msgspec.json.encode(pod), type=PodObject | None),
        "kubernetes",
    )
    known = msgspec.convert(list(events), list[EventObject])
    lost = pod is None or msgspec.convert(pod, PodObject).over
    return msgspec.structs.replace(seen, **(refusal(known) if lost else wait(seen, known)))


def ended(seen: Observation) -> Outcome:
    """Its outcome, for a job that waits once all limits have passed."""
    if (outcome := classify(seen)) is not None:
        return outcome
    passed = judge(seen, 1e9, (seen.queued_since or 0.0) + 1e9, LIMITS)
    assert isinstance(passed, Passed), seen
    return passed.outcome


def explained(seen: Observation) -> str:
    return " ".join(" ".join(lines(seen, LIMITS)).split())


@pytest.mark.parametrize(
    ("code", "job", "pod", "events", "why"), [row[1:] for row in WAITING], ids=[r[0] for r in WAITING]
)
def test_a_job_that_waits(code: int, job: Any, pod: Any, events: Any, why: str) -> None:
    seen = read(job, pod, events)
    found = wait_of(seen)
    assert found is not None
    assert found.text.startswith(why)
    assert ended(seen).code == code
    assert f"Why {' '.join(why.split())}" in explained(seen)
    cause = why.rpartition(": ")[2]
    assert cause in ended(seen).err or "nothing is known" in cause


class TestWhatAnEventSaidBefore:
    """The tracker keeps it until the events say otherwise."""

    def test_a_volume_was_mounted_since(self) -> None:
        known = msgspec.structs.replace(
            read(job_document(), starting()), configuration_error=IN_USE, registry_error=True
        )
        mounted = happened("FailedAttachVolume", IN_USE), happened("Pulling", 'Pulling image "i"', 2)
        assert again(known, *mounted) == {"configuration_error": "", "registry_error": False}

    def test_another_volume_is_missing(self) -> None:
        known = msgspec.structs.replace(
            read(job_document(), starting()), configuration_error=IN_USE, registry_error=True
        )
        missing = happened("FailedAttachVolume", IN_USE), happened("FailedMount", NO_SECRET, 2)
        assert again(known, *missing) == {"configuration_error": NO_SECRET, "registry_error": False}

    def test_what_the_pod_shows_takes_precedence(self) -> None:
        known = read(job_document(), starting(coat=waits("CreateContainerError", "no")))
        assert again(known, happened("FailedMount", NO_SECRET)) == {}

    def test_its_node_has_a_network_since(self) -> None:
        known = waiting(delay=f"NetworkNotReady: {CNI}")
        assert again(known, happened("NetworkNotReady", CNI), happened("Pulled", "x", 2)) == {"delay": ""}

    def test_a_volume_that_may_be_mounted_yet_has_longer(self) -> None:
        for message, limit in ((NO_SECRET, LIMITS.image_seconds), (IN_USE, 300), (NO_DRIVER, LIMITS.registry_seconds)):
            seen = read(job_document(), starting(), (happened("FailedMount", message),))
            assert isinstance(judge(seen, limit, seen.queued_since or 0.0, LIMITS), Passed)
            assert not isinstance(judge(seen, limit - 1, seen.queued_since or 0.0, LIMITS), Passed)


class TestAnAddedContainerThatCouldNotStart:
    """Its error is kept while the pod shows nothing else, but it is history once the container has started."""

    KEPT = read(job_document(), starting(before={"proxy": waits("ErrImagePull", PULL + "r/proxy:1: not found")}))

    @pytest.mark.parametrize(
        ("state", "over"),
        [
            (RUNNING, True),
            (DONE, True),
            (exited(1), True),
            (CREATING, False),
            (LOST, False),
            (waits("ErrImagePull", PULL + "not found"), False),
        ],
    )
    def test_no_job_is_ended_for_history(self, state: dict[str, Any], over: bool) -> None:
        now = read(job_document(), starting(before={"proxy": state}))
        refused = judge(self.KEPT, LIMITS.image_seconds, self.KEPT.queued_since or 0.0, LIMITS)
        assert isinstance(refused, Passed)
        assert contradicts(now, self.KEPT, refused.outcome) is over
        later = merged(self.KEPT, now)
        assert (later.image_error == "") is over
        assert isinstance(judge(later, LIMITS.image_seconds, later.queued_since or 0.0, LIMITS), Waits) is over


def waiting(**facts: Any) -> Observation:
    return msgspec.structs.replace(read(job_document(), starting()), **facts)


def again(known: Observation, *events: dict[str, Any]) -> dict[str, Any]:
    return wait(known, msgspec.convert(list(events), list[EventObject]))


SHUTDOWN = "Pod was terminated in response to imminent node shutdown."
KILLED = exited(137)
TASK = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
DENIED = (
    TASK + 'unable to start container process: error during container init: exec: "/toolbox/marvin": permission denied'
)
PREEMPTED = condition("DisruptionTarget", "PreemptionByScheduler", "default-scheduler: preempting", clock(4))
EVICTED_NODE = (
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 88Mi. Container marvin was using"
)


def over(marvin: Any = None, *, coat: Any = DONE, before: Any = None, after: Any = None, **rest: Any) -> dict[str, Any]:
    """A pod whose own containers have these states."""
    init = {**(before or {}), "coat": coat}
    return pod_document(init=init, main={"marvin": marvin or CREATING, **(after or {})}, **rest)


def attached(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod with an ephemeral container that has failed."""
    pod["status"]["ephemeralContainerStatuses"] = [{"name": "debugger", "state": exited(130)}]
    return pod


def with_last_state(pod: dict[str, Any], **status: Any) -> dict[str, Any]:
    """The pod with more in the status of its main container."""
    pod["status"]["containerStatuses"][0].update(status)
    return pod


ENDS: list[tuple[str, int | None, dict[str, Any], dict[str, Any] | None, str]] = [
    (
        "an injected init container fails before coat",
        5199,
        job_document(FAILED),
        over(coat=CREATING, before={"istio-init": exited(1, message="iptables-restore failed")}),
        "the init container istio-init, which is not the job's, ended: Error, exit code 1: iptables-restore failed",
    ),
    (
        "an injected init container runs out of memory before coat",
        5199,
        job_document(FAILED),
        over(coat=CREATING, before={"vault-agent-init": exited(137, "OOMKilled")}),
        "the init container vault-agent-init, which is not the job's, ended: OOMKilled, exit code 137",
    ),
    *(
        (
            f"an injected init container fails between coat and marvin{later}",
            5199,
            job_document(FAILED),
            pod_document(init={"coat": DONE, "vault": exited(1, message="403")}, main={"marvin": CREATING}, **rest),
            "the init container vault, which is not the job's, ended: Error, exit code 1: 403",
        )
        for later, rest in (("", {}), (", and its pod is deleted", {"deleted": clock(8, 30)}))
    ),
    (
        "an injected init container is stopped with its pod",
        5106,
        job_document(FAILED),
        over(coat=CREATING, before={"vault": exited(143)}, deleted=clock(5, 30)),
        "its pod was deleted",
    ),
    (
        "a native sidecar has failed once, and coat is stopped with its pod",
        5106,
        job_document(FAILED),
        over(coat=KILLED, before={"proxy": exited(137, "OOMKilled", at=clock(4))}, deleted=clock(5, 30)),
        "its pod was deleted",
    ),
    (
        "an injected init container fails before a job without coat",
        5199,
        job_document(FAILED, init=""),
        pod_document(init={"istio-init": exited(1)}, main={"marvin": CREATING}),
        "the init container istio-init, which is not the job's, ended: Error, exit code 1",
    ),
    (
        "an injected init container is lost with its node",
        5106,
        job_document(FAILED),
        over(coat=CREATING, before={"vault": LOST}),
        "its node lost its container",
    ),
    (
        "a native sidecar is lost with its node after marvin has started",
        5199,
        job_document(FAILED),
        over(RUNNING, before={"istio-proxy": LOST}),
        "backoff limit",
    ),
    (
        "a kubelet that knows no strict policy for groups",
        5108,
        job_document(FAILED),
        pod_document(reason="SupplementalGroupsPolicyNotSupported", message="Pod was rejected: not on this node"),
        "SupplementalGroupsPolicyNotSupported",
    ),
    (
        "a native sidecar fails after marvin's success",
        0,
        job_document(FAILED),
        over(DONE, before={"p": exited(255)}),
        "",
    ),
    ("a native sidecar is restarted while marvin runs", None, job_document(), over(RUNNING, before={"p": KILLED}), ""),
    (
        "a native sidecar crashes again and again while marvin runs",
        None,
        job_document(),
        over(RUNNING, before={"p": waits("CrashLoopBackOff", "back-off")}, phase="Running"),
        "",
    ),
    (
        "an injected container cannot be configured, and marvin runs",
        None,
        job_document(),
        over(RUNNING, after={"p": waits("CreateContainerConfigError", "no")}, phase="Pending"),
        "",
    ),
    (
        "an injected container runs out of memory, and marvin failed",
        5107,
        job_document(FAILED),
        over(exited(3), after={"p": exited(137, "OOMKilled")}),
        "main container: exit code 3",
    ),
    ("a debug container is attached", 5107, job_document(FAILED), attached(over(exited(3))), "exit code 3"),
    (
        "marvin ends by an access violation on Windows",
        5107,
        job_document(FAILED),
        over(exited(3221225477)),
        "3221225477",
    ),
    ("the same as a signed number", 5107, job_document(FAILED), over(exited(-1073741819)), "exit code -1073741819"),
    ("an exit code of -1 is no signal", 5107, job_document(FAILED), over(exited(-1)), "exit code -1"),
    (
        "the program is not executable",
        5108,
        job_document(FAILED),
        over(exited(128, "StartError", DENIED)),
        "permission denied",
    ),
    (
        "a seccomp profile is missing",
        5108,
        job_document(FAILED),
        over(coat=exited(128, "StartError", TASK + "seccomp: cannot load profile")),
        "seccomp",
    ),
    (
        "Docker's limit is too small",
        5104,
        job_document(FAILED),
        over(exited(128, "ContainerCannotRun", "Minimum memory limit allowed is 6MB")),
        "Minimum memory limit",
    ),
    (
        "spot: the node shuts down",
        5106,
        job_document(FAILED),
        over(KILLED, reason="Terminated", message=SHUTDOWN),
        SHUTDOWN,
    ),
    (
        "the node shuts down",
        5106,
        job_document(FAILED),
        over(KILLED, reason="NodeShutdown", message=SHUTDOWN),
        SHUTDOWN,
    ),
    (
        "an old kubelet shuts down",
        5106,
        job_document(FAILED),
        over(KILLED, reason="Shutdown", message="Node is"),
        "Node is",
    ),
    (
        "a taint evicts the pod",
        5106,
        job_document(FAILED),
        over(exited(143), conditions=(TAINTED,), deleted=clock(5)),
        "Taint manager",
    ),
    (
        "a more important pod takes its place",
        5106,
        job_document(FAILED),
        over(exited(143), conditions=(PREEMPTED,), deleted=clock(5)),
        "preempting",
    ),
    (
        "the kubelet makes room for a critical pod",
        5106,
        job_document(FAILED),
        over(KILLED, reason="Preempting", message="Preempted in order to admit critical pod"),
        "critical pod",
    ),
    (
        "the node is low on memory",
        5106,
        job_document(FAILED),
        over(KILLED, reason="Evicted", message=EVICTED_NODE),
        "The node was low on resource: memory",
    ),
    (
        "the node's disk is full",
        5106,
        job_document(FAILED),
        pod_document(reason="Evicted", message="The node had condition: [DiskPressure]. "),
        "DiskPressure",
    ),
    (
        "an emptyDir is full",
        5110,
        job_document(FAILED),
        over(KILLED, reason="Evicted", message='Usage of EmptyDir volume "code" exceeds the limit "1Gi". '),
        'EmptyDir volume "code"',
    ),
    (
        "a device is gone",
        5106,
        job_document(FAILED),
        pod_document(reason="UnexpectedAdmissionError", message="Pod was rejected: Allocate failed due to x"),
        "Allocate failed",
    ),
    (
        "the node controller gives a silent node's pod up",
        5106,
        job_document(("FailureTarget", *LATE)),
        over(
            RUNNING,
            phase="Running",
            reason="NodeLost",
            message="Node n which ran pod p is unresponsive",
            deleted=clock(6),
        ),
        "unresponsive",
    ),
    (
        "a pod whose container is lost, and which is gone",
        5106,
        job_document(FAILED),
        over(LOST, deleted=clock(6)),
        "lost",
    ),
    (
        "a policy lets containers restart, and marvin restarts",
        None,
        job_document(),
        with_last_state(over(RUNNING, phase="Running"), restartCount=1, lastState=exited(3)),
        "",
    ),
    (
        "a policy lets containers restart, and the Job does not",
        5107,
        job_document(FAILED),
        with_last_state(over(waits("CrashLoopBackOff", "back-off"), deleted=clock(6)), lastState=exited(3)),
        "exit code 3",
    ),
    (
        "the same, and marvin runs again",
        5107,
        job_document(("FailureTarget", *FAILED[1:])),
        with_last_state(over(RUNNING, phase="Running", deleted=clock(6)), lastState=exited(3)),
        "exit code 3",
    ),
    (
        "its pod was preempted, and is to be replaced",
        None,
        job_document(),
        pod_document(
            init={"coat": DONE},
            main={"marvin": exited(143)},
            conditions=(ASSIGNED, condition("DisruptionTarget", "PreemptionByScheduler", "preempting", clock(4))),
            deleted=clock(5),
        ),
        "Starting: its pod was taken from its node, and is to be replaced: preempting",
    ),
    (
        "marvin is about to be restarted",
        None,
        job_document(),
        with_last_state(over(waits("CrashLoopBackOff", "back-off"), phase="Running"), lastState=exited(3)),
        " runs (",
    ),
    (
        "marvin was restarted, and is too slow",
        5105,
        job_document(("Failed", *LATE)),
        with_last_state(over(RUNNING, phase="Running", deleted=clock(6)), lastState=exited(3)),
        "longer than",
    ),
    (
        "a queue takes its quota back while marvin runs",
        None,
        job_document(condition("Suspended", at=clock(5)), suspend=True, labels={"kueue.x-k8s.io/queue-name": "batch"}),
        over(exited(143), deleted=clock(5)),
        "Suspended by queue batch",
    ),
    (
        "an exit code matches a rule of a policy",
        5107,
        job_document(("Failed", "PodFailurePolicy", "Container marvin failed with exit code 3 matching FailJob")),
        over(exited(3)),
        "matching FailJob",
    ),
    (
        "a policy's rule ends the Job after a disruption",
        5106,
        job_document(("Failed", "PodFailurePolicy", "Pod jobs/a has condition DisruptionTarget matching FailJob")),
        over(exited(143), conditions=(TAINTED,), deleted=clock(5)),
        "DisruptionTarget",
    ),
]


@pytest.mark.parametrize(("code", "job", "pod", "said"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_job_that_ends_or_goes_on(code: int | None, job: Any, pod: Any, said: str) -> None:
    seen = read(job, pod)
    outcome = classify(seen)
    assert (outcome.code if outcome else None) == code
    assert said in explained(seen)
    killed = seen.main_exit in (137, 143) or seen.init_exit == 137
    assert ("killed by SIG" in explained(seen)) == (killed and outcome is not None)
    if outcome and code:
        assert said in outcome.err
        assert f"code {code}." in explained(seen)
