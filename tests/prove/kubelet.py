"""A node without a kubelet: pods that are bound to it get their statuses from here, through the API.

The API server, the Job controller and the scheduler are real, and only containers are missing. So thousands of ends
cost no process. What becomes of a pod is written in its job's name, by the word after `analysis-s0-`: see FATES.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import urllib3

from tests.recorder.rest import MERGE_PATCH, Api, ApiError
from tests.recorder.watch import JOB, PodWatch

THREADS = 16
HEARTBEAT_SECONDS = 10.0
LABEL = "orchestrator-prove"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class Fate(msgspec.Struct, frozen=True):
    """How the containers of a pod end: exit codes (None: it never started), reasons, and the pod's own reason."""

    main: int | None = 0
    init: int = 0
    main_reason: str = ""
    init_reason: str = ""
    reason: str = ""
    message: str = ""
    bare: bool = False
    """No container ever had a status: the kubelet has rejected the pod."""
    before_init: int | None = None
    """The exit code of an injected init container, which comes first."""
    before_main: int | None = None
    """The exit code of an injected container, which comes first; RUNS if it does not end."""


RUNS = -1

FATES: dict[str, Fate] = {
    "ok": Fate(),
    "exit3": Fate(main=3),
    "killed": Fate(main=137),
    "clone": Fate(main=None, init=128),
    "oom": Fate(main=137, main_reason="OOMKilled"),
    "initoom": Fate(main=None, init=137, init_reason="OOMKilled"),
    "start": Fate(main=None, init=128, init_reason="StartError", message="exec: /app/coat: no such file or directory"),
    "rebooted": Fate(main=137, main_reason="ContainerStatusUnknown"),
    "outofmemory": Fate(bare=True, reason="OutOfmemory", message="Pod was rejected: Node didn't have enough resource"),
    "affinity": Fate(bare=True, reason="NodeAffinity", message="Pod was rejected: Predicate NodeAffinity failed"),
    "nativesidecar": Fate(main=3, before_init=137),
    "injectedinit": Fate(main=None, init=128, before_init=0),
    "injectedgood": Fate(main=3, before_main=0),
    "injectedbad": Fate(main=0, before_main=1),
    "openok": Fate(main=0, before_main=RUNS),
    "openexit3": Fate(main=3, before_main=RUNS),
    "disk": Fate(main=137, reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit 1Gi."),
}


class Kubelet:
    """The node, its heartbeat, and the statuses of its pods. `close` removes it.

    A pod runs as soon as it is bound. It ends `seconds` later, or, with None, when `finish` names its job.
    """

    def __init__(self, api: Api, name: str, seconds: float | None) -> None:
        self._api = api
        self.name = name
        self.seconds = seconds
        self.pods: dict[str, dict[str, Any]] = {}
        """By job: the latest pod that runs."""
        self._finished: set[str] = set()
        self._known: set[str] = set()
        self._gone: set[str] = set()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._timed: queue.PriorityQueue[tuple[float, str]] = queue.PriorityQueue()
        self._ended = threading.Event()
        self._register()
        self._watch = PodWatch(api, "/api/v1/pods", self._changed, fieldSelector=f"spec.nodeName={name}")
        for target in (self._beat, self._end_in_time, *[self._work] * THREADS):
            threading.Thread(target=target, daemon=True).start()

    def pool(self) -> dict[str, Any]:
        """The settings of a pool whose pods come to this node, and to no other."""
        return {
            "driver": "kubernetes",
            "nodeSelector": {LABEL: self.name},
            "tolerations": [{"key": LABEL, "operator": "Exists"}],
        }

    def finish(self, jobs: Iterable[str]) -> None:
        """End the run of these jobs as their names say, in this order, as fast as the API server takes it."""
        for job in jobs:
            self._queue.put(lambda job=job: self._finish(job))  # type: ignore[misc]

    def finish_all(self) -> None:
        """End every pod that runs, and from now on each one as soon as it runs."""
        self.seconds = 0.0
        self.finish(list(self.pods))

    def close(self) -> None:
        self._ended.set()
        self._watch.close()
        for _ in range(THREADS):
            self._queue.put(None)
        for path in (f"/api/v1/nodes/{self.name}", f"{_LEASES}/{self.name}"):
            with suppress(ApiError, urllib3.exceptions.HTTPError):
                self._api.call("DELETE", path)

    def _register(self) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {LABEL: self.name}},
            "spec": {"taints": [{"key": LABEL, "value": "yes", "effect": "NoSchedule"}]},
        }
        self._api.call("POST", "/api/v1/nodes", node)
        self._api.call("POST", _LEASES, {"metadata": {"name": self.name}, "spec": {"holderIdentity": self.name}})
        size = {"cpu": "100000", "memory": "1000000Gi", "pods": "100000", "ephemeral-storage": "1000000Gi"}
        status = {"capacity": size, "allocatable": size, "conditions": _node_conditions()}
        self._api.call("PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status}, MERGE_PATCH)

    def _beat(self) -> None:
        """Renew the Lease and the node's conditions. A Lease alone did not count: the node was NotReady after 50 s."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            renewed = {"spec": {"renewTime": _now(micro=True), "leaseDurationSeconds": 40}}
            status = {"status": {"conditions": _node_conditions()}}
            with suppress(ApiError, OSError, urllib3.exceptions.HTTPError):
                self._api.call("PATCH", f"{_LEASES}/{self.name}", renewed, MERGE_PATCH)
                self._api.call("PATCH", f"/api/v1/nodes/{self.name}/status", status, MERGE_PATCH)

    def _changed(self, kind: str, pod: dict[str, Any]) -> None:
        """Called by the watch. Queues what a kubelet would do."""
        uid = pod["metadata"]["uid"]
        job = pod["metadata"].get("labels", {}).get(JOB, "")
        if kind == "DELETED":
            self.pods.pop(job, None)
        elif pod["metadata"].get("deletionTimestamp"):
            if uid not in self._gone:
                self._gone.add(uid)
                self._queue.put(lambda: self._delete(job, pod))
        elif uid not in self._known:
            self._known.add(uid)
            if pod["status"].get("phase", "Pending") == "Pending":
                self._queue.put(lambda: self._start(job, pod))

    def _work(self) -> None:
        while (step := self._queue.get()) is not None:
            with suppress(ApiError, urllib3.exceptions.HTTPError):
                step()

    def _start(self, job: str, pod: dict[str, Any]) -> None:
        fate = FATES.get(word(job), FATES["ok"])
        self.pods[job] = pod
        if not fate.bare:
            self._write(pod, running(pod))
        if self.seconds is not None or job in self._finished:
            self._timed.put((time.monotonic() + (self.seconds or 0.0), job))

    def _end_in_time(self) -> None:
        """End the pods whose time has come."""
        while not self._ended.is_set():
            try:
                due, job = self._timed.get(timeout=0.2)
            except queue.Empty:
                continue
            if (early := due - time.monotonic()) > 0:
                self._timed.put((due, job))
                self._ended.wait(min(early, 0.05))
            else:
                self.finish([job])

    def _finish(self, job: str) -> None:
        self._finished.add(job)
        if (pod := self.pods.pop(job, None)) is not None and pod["metadata"]["uid"] not in self._gone:
            self._write(pod, ended(pod, FATES.get(word(job), FATES["ok"])))

    def _delete(self, job: str, pod: dict[str, Any]) -> None:
        """A deleted pod: its containers end by SIGTERM, then the kubelet removes the object."""
        if self.pods.pop(job, None) is not None:
            with suppress(ApiError):
                self._write(pod, ended(pod, Fate(main=143)))
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._api.call("DELETE", path, options)

    def _write(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        self._api.call("PATCH", path, {"metadata": {"uid": metadata["uid"]}, "status": status}, MERGE_PATCH)


def _node_conditions() -> list[dict[str, str]]:
    """Ready since now; nothing reads since when."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "no kubelet"}
    return [{**ready, "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}]


def word(job: str) -> str:
    """The word of the run id in a job's name: `exit3` of `analysis-s0-exit3-7-12-1`."""
    parts = job.split("-")
    return parts[2] if len(parts) > 2 else ""


def running(pod: dict[str, Any]) -> dict[str, Any]:
    """Its init containers have ended with 0, and its main containers run."""
    began = {"startedAt": _now()}
    init = [_status(each, {"terminated": _terminated(0, "")}) for each in _names(pod, "initContainers")]
    main = [_status(each, {"running": began}) for each in _names(pod, "containers")]
    return {
        "phase": "Running",
        "initContainerStatuses": init,
        "containerStatuses": main,
        **_conditions(pod, ready=True),
    }


def ended(pod: dict[str, Any], fate: Fate) -> dict[str, Any]:
    """The status of a pod whose containers have ended so."""
    own = {name: value for name, value in (("reason", fate.reason), ("message", fate.message)) if value}
    if fate.bare:
        return {"phase": "Failed", **own}
    init_message = fate.message if fate.init_reason else ""
    init_state = {"terminated": _terminated(fate.init, fate.init_reason, init_message)}
    waiting = {"waiting": {"reason": "PodInitializing"}}
    main_state = waiting if fate.main is None else {"terminated": _terminated(fate.main, fate.main_reason)}
    init = [_status(each, init_state) for each in _names(pod, "initContainers")]
    main = [_status(each, main_state) for each in _names(pod, "containers")]
    return {
        "phase": _phase(fate),
        **(own if fate.reason else {}),
        "initContainerStatuses": [*_injected(fate.before_init), *init],
        "containerStatuses": [*_injected(fate.before_main), *main],
        **_conditions(pod, ready=False),
    }


def _phase(fate: Fate) -> str:
    if fate.before_main == RUNS:
        return "Running"
    return "Succeeded" if fate.main == 0 and fate.init == 0 and not fate.before_main else "Failed"


def _injected(code: int | None) -> list[dict[str, Any]]:
    """The status of a container that a webhook has put before ours."""
    if code is None:
        return []
    state = {"running": {"startedAt": _now()}} if code == RUNS else {"terminated": _terminated(code, "")}
    return [_status({"name": "istio-proxy", "image": "istio-proxy"}, state)]


def _names(pod: dict[str, Any], kind: str) -> list[dict[str, str]]:
    return [{"name": each["name"], "image": each["image"]} for each in pod["spec"].get(kind, ())]


def _status(container: dict[str, str], state: dict[str, Any]) -> dict[str, Any]:
    rest = {"imageID": "", "restartCount": 0, "ready": "running" in state, "state": state}
    return {**container, **rest}


def _terminated(code: int, reason: str, message: str = "") -> dict[str, Any]:
    usual = "Completed" if code == 0 else "Error"
    end = {"exitCode": code, "reason": reason or usual, "startedAt": _now(), "finishedAt": _now()}
    return {**end, "containerID": "containerd://none", **({"message": message} if message else {})}


def _conditions(pod: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    """A merge patch replaces the whole list, so the conditions that others have set are repeated."""
    others = [each for each in pod["status"].get("conditions", ()) if each["type"] != "Ready"]
    own = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": _now()}
    return {"conditions": [*others, own]}


def _now(*, micro: bool = False) -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
