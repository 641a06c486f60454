"""Restores Jobs, pods and Secrets. No controller manages those that had ended, so they stay as recorded.

A Job that waited or ran is created again, and the cluster runs it. A Job that had ended names another controller
(`managedBy`), and its pods another scheduler, so the cluster keeps the status that is written.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import cluster
from tests.conformance.clusters.kubernetes import KubernetesCluster
from tests.releases import State
from tests.releases.places import Place
from tests.releases.places.rest import Rest

UNMANAGED = "orchestrator.test/nobody"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class KubernetesPlace(Place):
    """A namespace."""

    def __init__(self, release: str, cluster_: KubernetesCluster, request: pytest.FixtureRequest) -> None:
        super().__init__(release, "kubernetes")
        access = request.getfixturevalue("real_servers").kubernetes
        self._rest = Rest(access.url, access.ca, Authorization=f"Bearer {access.token}")
        self._namespace = cluster_.config.cluster.namespace

    def put(self, *states: str) -> None:
        for name in states:
            job, *others = _at_present(self.states[name])["objects"]
            made = self._put_job(job)
            for each in others:
                if each["kind"] == "Secret":
                    self._make("api/v1", "secrets", {**each, "metadata": _owned(each, made)})
                elif _ended(job):
                    self._put_pod(each, job, made)

    def _put_job(self, job: dict[str, Any]) -> dict[str, Any]:
        if not _ended(job):
            return self._make("apis/batch/v1", "jobs", job)
        made = self._make("apis/batch/v1", "jobs", {**job, "spec": {**job["spec"], "managedBy": UNMANAGED}})
        self._put_status("apis/batch/v1", "jobs", job)
        return made

    def _put_pod(self, pod: dict[str, Any], job: dict[str, Any], owner: dict[str, Any]) -> None:
        spec = {**job["spec"]["template"]["spec"], "schedulerName": UNMANAGED}
        self._make("api/v1", "pods", {**pod, "metadata": _owned(pod, owner), "spec": spec})
        self._put_status("api/v1", "pods", pod)

    def _make(self, group: str, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self._rest("POST", f"{group}/namespaces/{self._namespace}/{kind}", content)
        return made

    def _put_status(self, group: str, kind: str, content: dict[str, Any]) -> None:
        path = f"{group}/namespaces/{self._namespace}/{kind}/{content['metadata']['name']}/status"
        self._rest("PATCH", path, {"status": content["status"]}, media="application/merge-patch+json")


def place(release: str, cluster_: KubernetesCluster, request: pytest.FixtureRequest) -> KubernetesPlace:
    return KubernetesPlace(release, cluster_, request)


def _ended(job: dict[str, Any]) -> bool:
    conditions = job["status"].get("conditions", ())
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)


def _owned(item: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
    owner |= {name: job["metadata"][name] for name in ("name", "uid")}
    return {**item["metadata"], "ownerReferences": [owner]}


def _at_present(state: State) -> State:
    """The state with the current image, and with times as if its last change were a second old."""
    text = json.dumps(state).replace("{image}", cluster.image("shell").reference)
    moments = [datetime.strptime(each, _FORMAT) for each in _TIME.findall(text)]
    shift = datetime.fromtimestamp(time.time() - 1, UTC).replace(tzinfo=None) - max(moments, default=datetime.max)
    moved: State = json.loads(_TIME.sub(lambda found: _later(found[0], shift), text))
    return moved


def _later(moment: str, shift: timedelta) -> str:
    return (datetime.strptime(moment, _FORMAT) + shift).strftime(_FORMAT)
