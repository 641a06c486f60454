"""The Job controller, the garbage collector and the time-to-live of a simulated Kubernetes. All of them lag."""

from __future__ import annotations

from typing import Any

from tests.simulation.history import History
from tests.simulation.kubernetes.admission import Quota
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.store import Change, Key, Object
from tests.simulation.scheduler import EPOCH

LONGEST_LAG = 6.0
"""Seconds that a controller may be behind."""

CREATE_AGAIN_SECONDS = 2.0
"""After a pod was refused."""


def condition(item: Object, kind: str) -> dict[str, Any] | None:
    """The condition of that type, if it is true."""
    found = item["status"].get("conditions", ())
    return next((each for each in found if each["type"] == kind and each["status"] == "True"), None)


class JobController:
    """Brings each Job closer to its spec, some time after it or one of its pods has changed."""

    def __init__(self, server: ApiServer, history: History, quota: Quota) -> None:
        self._server = server
        self._quota = quota
        self._store = server.store
        self._history = history
        self._scheduler = server.network.scheduler
        self._due: set[Key] = set()
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self.slow = False
        server.store.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        kind, namespace, _ = change.key
        if kind == "pods":
            item = change.new or change.old or {}
            self._later(("jobs", namespace, item["metadata"]["labels"]["batch.kubernetes.io/job-name"]))
        elif kind == "jobs":
            self._later(change.key)
            if change.new is None and change.old is not None:
                self._scheduler.after(
                    self._lag(), "the garbage collector", lambda: self._collect(namespace, change.old)
                )

    def _lag(self) -> float:
        random = self._scheduler.random.random
        return random() * LONGEST_LAG if self.slow and random() < 0.3 else 0.01 + random() * 0.2

    def _later(self, key: Key, seconds: float | None = None) -> None:
        if seconds is None:
            if key in self._due:
                return
            self._due.add(key)
        self._scheduler.after(
            self._lag() if seconds is None else seconds, f"Job controller {key[2]}", lambda: self._sync(key)
        )

    def _collect(self, namespace: str, job: Object | None) -> None:
        """Delete what the deleted Job owned."""
        uid = (job or {})["metadata"]["uid"]
        for kind in ("secrets", "pods"):
            for each in self._store.collection(kind, namespace):
                if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ())):
                    self._server.delete((kind, namespace, each["metadata"]["name"]))

    def _pods(self, job: Object) -> list[Object]:
        uid, namespace = job["metadata"]["uid"], job["metadata"]["namespace"]
        owned = self._store.collection("pods", namespace)
        return [each for each in owned if each["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _sync(self, key: Key) -> None:
        self._due.discard(key)
        job = self._store.get(key)
        self._release(key, job)
        if job is None:
            return
        if condition(job, "Complete") or condition(job, "Failed"):
            self._expire(key, job)
        elif condition(job, "FailureTarget"):
            self._fail(key, job)
        elif job["spec"].get("suspend"):
            self._suspend(key, job)
        elif condition(job, "Suspended"):
            self._resume(key, job)
        else:
            self._advance(key, job)

    def _release(self, key: Key, job: Object | None) -> None:
        """Let deleted pods go that have ended, or whose Job is gone."""
        for pod in self._store.collection("pods", key[1]):
            metadata = pod["metadata"]
            if metadata["labels"]["batch.kubernetes.io/job-name"] == key[2] and "deletionTimestamp" in metadata:
                orphan = job is None or metadata["ownerReferences"][0]["uid"] != job["metadata"]["uid"]
                ended = pod["status"].get("phase") in ("Failed", "Succeeded")
                counted = job is None or "deadline" in self._ended_by(job) or condition(job, "Failed") is not None
                if ended and (orphan or counted or self._counted(pod)):
                    self._store.remove(("pods", key[1], metadata["name"]))

    def _ended_by(self, job: Object) -> str:
        target = condition(job, "FailureTarget")
        return "deadline" if target and target["reason"] == "DeadlineExceeded" else ""

    def _counted(self, pod: Object) -> bool:
        """Whether the Job controller ignores the pod's failure (its podFailurePolicy)."""
        return condition(pod, "DisruptionTarget") is not None

    def _expire(self, key: Key, job: Object) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        uid = job["metadata"]["uid"]
        left = self._ended[uid] + ttl - self._scheduler.now
        if left > 0:
            self._later(key, left)
        else:
            self._history.record("kubernetes", key[1], key[2], uid, "expired")
            self._server.delete(key)

    def _fail(self, key: Key, job: Object) -> None:
        """Failed follows once all pods have ended. A pod on a silent node never does."""
        running = [pod for pod in self._pods(job) if pod["status"].get("phase") not in ("Failed", "Succeeded")]
        for pod in running:
            self._server.delete(("pods", key[1], pod["metadata"]["name"]))
        if not running:
            target = condition(job, "FailureTarget") or {}
            self._finish(key, job, "Failed", target.get("reason", ""), target.get("message", ""))

    def _suspend(self, key: Key, job: Object) -> None:
        for pod in self._pods(job):
            self._server.delete(("pods", key[1], pod["metadata"]["name"]))
        if not condition(job, "Suspended"):
            self._set_condition(key, job, "Suspended", "JobSuspended", "Job suspended")

    def _resume(self, key: Key, job: Object) -> None:
        """Its deadline counts from now on."""
        self._began[job["metadata"]["uid"]] = self._scheduler.now
        self._set_condition(key, job, "Suspended", "JobResumed", "Job resumed", holds="False")

    def _advance(self, key: Key, job: Object) -> None:
        uid, spec = job["metadata"]["uid"], job["spec"]
        began = self._began.setdefault(uid, self._scheduler.now)
        allowed = spec.get("activeDeadlineSeconds")
        if allowed is not None:
            left = began + allowed - self._scheduler.now
            if left <= 0:
                self._set_condition(
                    key, job, "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
                )
                return
            self._later(key, left + 0.001)
        pods = self._pods(job)
        phases = [pod["status"].get("phase") for pod in pods]
        if "Succeeded" in phases:
            self._finish(key, job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif any(phase == "Failed" and not self._counted(pod) for phase, pod in zip(phases, pods, strict=True)):
            self._set_condition(
                key, job, "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            )
        elif not any(phase != "Failed" for phase in phases) and spec.get("parallelism", 1) > 0:
            if self._quota.refuses(job):
                self._later(key, CREATE_AGAIN_SECONDS)
            else:
                self._create_pod(key, job)

    def _create_pod(self, key: Key, job: Object) -> None:
        name, uid = key[2], job["metadata"]["uid"]
        suffix = f"{self._scheduler.random.getrandbits(20):05x}"
        template = job["spec"]["template"]
        labels = {
            **template.get("metadata", {}).get("labels", {}),
            "batch.kubernetes.io/job-name": name,
            "batch.kubernetes.io/controller-uid": uid,
            "job-name": name,
            "controller-uid": uid,
        }
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
        metadata = {
            "name": f"{name}-{suffix}",
            "labels": labels,
            "ownerReferences": [owner],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self._history.record("kubernetes", key[1], name, uid, "pod", metadata["name"])
        self._server.create(("pods", key[1], metadata["name"]), pod)
        self._put_status(key, job, {"active": 1})

    def _finish(self, key: Key, job: Object, kind: str, reason: str, message: str) -> None:
        self._ended[job["metadata"]["uid"]] = self._scheduler.now
        counts = {"active": 0, "succeeded" if kind == "Complete" else "failed": 1}
        self._set_condition(key, job, kind, reason, message, counts)

    def _set_condition(
        self,
        key: Key,
        job: Object,
        kind: str,
        reason: str,
        message: str,
        counts: dict[str, int] | None = None,
        holds: str = "True",
    ) -> None:
        added = {
            "type": kind,
            "status": holds,
            "reason": reason,
            "message": message,
            "lastTransitionTime": self._server.timestamp(),
        }
        conditions = [*(each for each in job["status"].get("conditions", ()) if each["type"] != kind), added]
        self._put_status(key, job, {**(counts or {}), "conditions": conditions})

    def _put_status(self, key: Key, job: Object, change: Object) -> None:
        began = self._began.get(job["metadata"]["uid"])
        start = {} if began is None else {"startTime": _time(began)}
        self._store.put(key, {**job, "status": {**job["status"], **start, **change}})


def _time(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(EPOCH + at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
