"""Copies of a Job and its pod, with their statuses: thousands of ended jobs in a minute, without any container."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.prove.places import KubernetesPlace
from tests.recorder.rest import MERGE_PATCH

Document = dict[str, Any]

MANAGER = "orchestrator.test/nobody"
"""`spec.managedBy` of copied Jobs: the Job controller leaves them alone."""

_SERVER_SET = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "finalizers", "selfLink")
_JOB_ONLY = ("controller-uid", "batch.kubernetes.io/controller-uid")


def documents(place: KubernetesPlace, name: str) -> tuple[Document, Document]:
    """A Job and its only pod, as they are now."""
    (pod,) = place.api.call("GET", place.path("pods"), labelSelector=f"batch.kubernetes.io/job-name={name}")["items"]
    return place.api.call("GET", place.path("jobs", name)), pod


def copy(place: KubernetesPlace, originals: tuple[Document, Document], run: str, number: int) -> None:
    """A Job and its pod as they are, under another run id of the same length. No controller acts on them."""
    job, pod = (_replaced(each, run, f"{run[:-7]}{number:07d}") for each in originals)
    api, jobs, pods = place.api, place.path("jobs"), place.path("pods")
    made = api.call("POST", jobs, _unmanaged(job))["metadata"]
    api.call("PATCH", f"{jobs}/{made['name']}/status", {"status": job["status"]}, MERGE_PATCH)
    pod = _replaced(pod, job["metadata"]["uid"], made["uid"])
    metadata = {name: value for name, value in pod["metadata"].items() if name not in _SERVER_SET}
    named = {**pod, "metadata": {**metadata, "name": f"{made['name']}-{number:05d}"}, "status": None}
    api.call("POST", pods, named)
    api.call("PATCH", f"{pods}/{named['metadata']['name']}/status", {"status": pod["status"]}, MERGE_PATCH)


def _replaced(document: Document, old: str, new: str) -> Document:
    """The document with one text in place of another, wherever it occurs."""
    replaced: Document = msgspec.json.decode(msgspec.json.encode(document).replace(old.encode(), new.encode()))
    return replaced


def _unmanaged(job: Document) -> Document:
    metadata = {name: value for name, value in job["metadata"].items() if name not in _SERVER_SET}
    spec = {name: value for name, value in job["spec"].items() if name != "selector"}
    labels = spec["template"]["metadata"]["labels"]
    spec["template"]["metadata"]["labels"] = {name: value for name, value in labels.items() if name not in _JOB_ONLY}
    return {**job, "metadata": metadata, "spec": {**spec, "managedBy": MANAGER}, "status": None}
