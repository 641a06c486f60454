"""An independent watcher of pods: when each end was first shown by a watch event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import urllib3

from tests.recorder.clusters import container_statuses
from tests.recorder.rest import Api, ApiError

JOB = "batch.kubernetes.io/job-name"
SESSION_SECONDS = "300"


class PodWatch:
    """Follows the pods of a namespace, or of a node, in a thread, until it is closed. `on_pod` gets each one."""

    def __init__(
        self,
        api: Api,
        path: str,
        on_pod: Callable[[str, dict[str, Any]], None] = lambda kind, pod: None,
        **selector: str,
    ) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._on_pod = on_pod
        self._ended = threading.Event()
        self.first_end: dict[str, float] = {}
        """By job: the time (monotonic) of the first event that shows the end of its run."""
        self.sessions = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. The open stream ends with the process, or after its session."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._session()
            except (ApiError, OSError, urllib3.exceptions.HTTPError, msgspec.MsgspecError):
                self._ended.wait(0.2)

    def _session(self) -> None:
        """List, then follow the changes until the stream ends."""
        page = self._api.call("GET", self._path, **self._selector)
        for pod in page["items"]:
            self._seen("ADDED", pod)
        version = page["metadata"]["resourceVersion"]
        self.sessions += 1
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": SESSION_SECONDS, **self._selector}
        for line in self._api.lines(self._path, seconds=float(SESSION_SECONDS) + 10, **query):
            event = msgspec.json.decode(line)
            if event["type"] == "ERROR" or self._ended.is_set():
                return
            self._seen(event["type"], event["object"])

    def _seen(self, kind: str, pod: dict[str, Any]) -> None:
        job = pod["metadata"].get("labels", {}).get(JOB)
        if job and job not in self.first_end and over(pod):
            self.first_end[job] = time.monotonic()
        self._on_pod(kind, pod)


def over(pod: dict[str, Any]) -> bool:
    """Whether the pod's run has ended: the pod itself has, a main container, or an init container with an error."""
    if pod["status"].get("phase") in ("Succeeded", "Failed"):
        return True
    main = {each["name"] for each in pod["status"].get("containerStatuses", ())}
    ends = [(each["name"], each["state"]["terminated"]) for each in container_statuses(pod) if _terminated(each)]
    return any(name in main or end["exitCode"] for name, end in ends)


def _terminated(status: dict[str, Any]) -> bool:
    return "terminated" in status["state"]
