"""What the clusters have: jobs, and how their containers ended, by the containers' own statuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.cluster import KubernetesAccess, NomadAccess
from tests.recorder.rest import Api

PAGE = "500"


class Exit(msgspec.Struct, frozen=True):
    """How a container ended."""

    code: int
    reason: str = ""


class RecordedJob(msgspec.Struct, frozen=True):
    """One job on a cluster."""

    engine: str
    place: str
    name: str
    identity: str
    ended: str = ""
    """How the cluster itself says that it ended; empty if it does not."""
    running: int = 0
    """Containers that run."""
    exits: dict[str, Exit] = {}
    """By container's name, of the latest pod or allocation that is still there."""


def kubernetes_api(access: KubernetesAccess) -> Api:
    return Api(access.url, access.ca, {"Authorization": f"Bearer {access.token}"})


def nomad_api(access: NomadAccess) -> Api:
    return Api(access.url, access.ca, {"X-Nomad-Token": access.token})


def kubernetes_jobs(api: Api, namespace: str) -> list[RecordedJob]:
    """Every Job of a namespace, with the statuses of its pods."""
    pods: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for pod in listed(api, f"/api/v1/namespaces/{namespace}/pods"):
        for owner in pod["metadata"].get("ownerReferences", ()):
            pods[owner["uid"]].append(pod)
    found = []
    for job in listed(api, f"/apis/batch/v1/namespaces/{namespace}/jobs"):
        metadata = job["metadata"]
        own = sorted(pods[metadata["uid"]], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        exits, running = _statuses(own)
        found.append(
            RecordedJob(
                "kubernetes", namespace, metadata["name"], metadata["uid"], _condition(job["status"]), running, exits
            )
        )
    return found


def listed(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """All objects of a collection, page by page."""
    more = ""
    while True:
        page = api.call("GET", path, limit=PAGE, **({"continue": more} if more else {}))
        yield from page["items"]
        if not (more := page["metadata"].get("continue", "")):
            return


def _condition(status: dict[str, Any]) -> str:
    """The condition that ends a Job. FailureTarget and SuccessCriteriaMet precede the other two."""
    ending = {"Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"}
    true = [each for each in status.get("conditions", ()) if each["type"] in ending and each["status"] == "True"]
    return f"{true[0]['type']}/{true[0].get('reason', '')}" if true else ""


def _statuses(pods: list[dict[str, Any]]) -> tuple[dict[str, Exit], int]:
    exits: dict[str, Exit] = {}
    running = 0
    for pod in pods:
        for each in container_statuses(pod):
            running += "running" in each["state"]
            if (terminated := each["state"].get("terminated")) is not None:
                exits[each["name"]] = Exit(terminated["exitCode"], terminated.get("reason", ""))
    return exits, running


def container_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The statuses of all containers of a pod, init containers first."""
    status = pod["status"]
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def nomad_jobs(api: Api, namespace: str) -> list[RecordedJob]:
    """Every job of a namespace, with the states of its tasks."""
    allocations: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in api.call("GET", "/v1/allocations", namespace=namespace, task_states="true"):
        allocations[each["JobID"]].append(each)
    found = []
    for job in api.call("GET", "/v1/jobs", namespace=namespace):
        own = sorted(allocations[job["ID"]], key=lambda each: int(each["CreateIndex"]))
        tasks = {name: task for each in own for name, task in (each["TaskStates"] or {}).items()}
        exits = {name: _exit(task) for name, task in tasks.items() if task["State"] == "dead" and task["FinishedAt"]}
        running = sum(task["State"] == "running" for task in tasks.values())
        ended = job["Status"] if job["Status"] == "dead" else ""
        identity = f"{job['ID']}/{job['SubmitTime']}"
        found.append(RecordedJob("nomad", namespace, job["ID"], identity, ended, running, exits))
    return found


def _exit(task: dict[str, Any]) -> Exit:
    """The exit code of the task's last end. A task that never started has none: -1, with the last event's type."""
    events = task.get("Events") or []
    ends = [each for each in events if each["Type"] == "Terminated"]
    if not ends:
        return Exit(-1, events[-1]["Type"] if events else "")
    details = ends[-1].get("Details") or {}
    reason = "OOMKilled" if details.get("oom_killed") == "true" else ""
    return Exit(int(details.get("exit_code", ends[-1].get("ExitCode", 0))), reason)
