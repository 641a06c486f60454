"""What keeps a Job from its pod in a simulated Kubernetes: a quota that refuses it, and a queue that holds the Job."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf

from tests.simulation.history import History
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.store import Change, Object

_QUEUE = "kueue.x-k8s.io/queue-name"

_EXCEEDED = "is forbidden: exceeded quota: compute, requested: pods=1, used: pods=50, limited: pods=50"


class Quota:
    """Refuses the pods of some names for so many seconds after their Job was created."""

    def __init__(self, server: ApiServer, history: History, seconds: Mapping[str, float]) -> None:
        self._server = server
        self._scheduler = server.network.scheduler
        self._history = history
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def refuses(self, job: Object) -> bool:
        """Whether it refuses a pod now. Then the Job has an event that says why."""
        metadata = job["metadata"]
        name, uid = metadata["name"], metadata["uid"]
        since = self._since.setdefault(uid, self._scheduler.now)
        if self._scheduler.now >= since + self._seconds.get(name, 0.0):
            return False
        if since == self._scheduler.now:
            self._history.record("kubernetes", metadata["namespace"], name, uid, "refused", "by a quota")
        self._write_event(metadata)
        return True

    def _write_event(self, job: Object) -> None:
        """One event for each Job; a later refusal counts there."""
        now = self._server.timestamp()
        key = ("events", job["namespace"], f"{job['name']}.{job['uid'][:8]}")
        if (known := self._server.store.get(key)) is not None:
            self._server.store.put(key, {**known, "lastTimestamp": now})
            return
        message = f'Error creating: pods "{job["name"]}-x" {_EXCEEDED}'
        self._server.create(
            key,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": key[2]},
                "involvedObject": {"kind": "Job", "name": job["name"], "uid": job["uid"]},
                "reason": "FailedCreate",
                "message": message,
                "lastTimestamp": now,
            },
        )


class Queue:
    """Resumes each Job that was created for it, after so many seconds."""

    def __init__(self, server: ApiServer, history: History, seconds: Mapping[str, float]) -> None:
        self._store = server.store
        self._scheduler = server.network.scheduler
        self._history = history
        self._seconds = seconds
        self._store.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key[0] != "jobs" or change.old is not None or change.new is None:
            return
        job, seconds = change.new, self._seconds.get(change.key[2], 0.0)
        if not (_QUEUE in job["metadata"]["labels"] and job["spec"].get("suspend")):
            return
        self._record(job, "held")
        if not isinf(seconds):
            self._scheduler.after(seconds, f"the queue admits {change.key[2]}", lambda: self._admit(change.key, job))

    def _admit(self, key: tuple[str, str, str], created: Object) -> None:
        job = self._store.get(key)
        if job and job["metadata"]["uid"] == created["metadata"]["uid"] and job["spec"].get("suspend"):
            self._record(job, "admitted")
            self._store.put(key, {**job, "spec": {**job["spec"], "suspend": False}})

    def _record(self, job: Object, what: str) -> None:
        metadata = job["metadata"]
        self._history.record("kubernetes", metadata["namespace"], metadata["name"], metadata["uid"], what, "by a queue")
