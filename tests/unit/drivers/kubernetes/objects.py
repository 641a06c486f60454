"""Jobs and pods as a real API server reports them, made by hand: only what differs from case to case is passed."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from runner.drivers.kubernetes.manifest import CANCELLED, FINGERPRINT, POOL, REPORT, SECRET
from runner.drivers.kubernetes.objects import JobObject, PodObject
from runner.drivers.kubernetes.observation import observation
from runner.observation import Observation

CREATED = "2026-11-27T10:00:00Z"
UID = "uid-1"
SECRET_NAME = "analysis-1-0a1b"
REPORTED_AS = {"request_type": "analysis_run", "run_id": "r", "path": "/results", "task": "t", "scope": "analysis.*"}
CONFIRMED_AS = {**REPORTED_AS, "request_type": "cancel_check_run", "run_id": "c"}
FAILED = ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
TARGET = ("FailureTarget", *FAILED[1:])
LATE = ("DeadlineExceeded", "Job was active longer than specified deadline")


def clock(minute: int, second: int = 0) -> str:
    return f"2026-11-27T10:{minute:02}:{second:02}Z"


def condition(kind: str, reason: str = "", message: str = "", at: str = clock(9), status: str = "True") -> Any:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


def job_document(
    *conditions: Any,
    suspend: bool = False,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    init: str = "coat",
    main: str = "marvin",
) -> dict[str, Any]:
    ours = {FINGERPRINT: "f", POOL: "default", REPORT: json.dumps(REPORTED_AS), SECRET: SECRET_NAME}
    containers = [{"name": main, "image": "i"}]
    return {
        "metadata": {
            "name": "analysis-1",
            "namespace": "jobs",
            "uid": UID,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
            "labels": {"manager": "runner", **(labels or {})},
            "annotations": {**ours, **(annotations or {})},
        },
        "spec": {
            "suspend": suspend,
            "activeDeadlineSeconds": 2400,
            "template": {
                "spec": {"containers": containers, **({"initContainers": [{"name": init}]} if init else {})},
            },
        },
        "status": {"conditions": [each if isinstance(each, dict) else condition(*each) for each in conditions]},
    }


def job(*conditions: Any, **rest: Any) -> JobObject:
    return msgspec.convert(job_document(*conditions, **rest), JobObject)


def exited(code: int, reason: str = "", message: str = "", at: str | None = clock(5)) -> dict[str, Any]:
    reason = reason or ("Error" if code else "Completed")
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": at}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNNING: dict[str, Any] = {"running": {"startedAt": clock(1)}}
CREATING = waits("PodInitializing")
DONE = exited(0, at=clock(1))


def pod_document(
    *,
    init: dict[str, Any] | None = None,
    main: dict[str, Any] | None = None,
    phase: str = "Failed",
    reason: str = "",
    message: str = "",
    conditions: tuple[Any, ...] = (),
    deleted: str = "",
    grace: int = 30,
    made: str = CREATED,
    name: str = "analysis-1-x",
) -> dict[str, Any]:
    """`init` and `main` map the names of containers to their states, in the pod's order."""

    def statuses(states: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [{"name": name, "state": state} for name, state in (states or {}).items()]

    deletion = {"deletionTimestamp": deleted, "deletionGracePeriodSeconds": grace} if deleted else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "jobs",
            "uid": f"uid-of-{name}",
            "creationTimestamp": made,
            "labels": {"batch.kubernetes.io/job-name": "analysis-1", "batch.kubernetes.io/controller-uid": UID},
            **deletion,
        },
        "status": {
            "phase": phase,
            "reason": reason,
            "message": message,
            "conditions": list(conditions),
            "initContainerStatuses": statuses(init),
            "containerStatuses": statuses(main),
        },
    }


def pod(**rest: Any) -> PodObject:
    return msgspec.convert(pod_document(**rest), PodObject)


def observed(known: JobObject, seen: PodObject | None) -> Observation:
    return observation(known, seen, "kubernetes")


_FACTS = (
    *("phase", "lingers", "held", "incomplete", "not_admitted", "unschedulable", "image_error", "registry_error"),
    *("configuration_error", "timed_out", "out_of_memory", "disrupted", "disk_exhausted", "container", "signal"),
    *("init_exit", "main_exit"),
)


def facts(seen: Observation) -> dict[str, Any]:
    """The members that decide the outcome, without those that say nothing."""
    silent = Observation(name="", driver="", pool="", phase="gone", created=0)
    found = {name: getattr(seen, name) for name in _FACTS}
    return {name: value for name, value in found.items() if value != getattr(silent, name)}


CANCELLATION = {CANCELLED: json.dumps(CONFIRMED_AS)}
