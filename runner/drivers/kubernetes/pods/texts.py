"""What a Job and its pod say of a wait, a disruption or an end, in words for a person. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from runner.drivers.kubernetes.objects import ContainerStatus, JobObject, true_condition
from runner.drivers.kubernetes.pods.own_containers import OwnContainers
from runner.drivers.kubernetes.reasons import DEADLINE, POD_FAILED

_BACKOFF_LIMIT = "BackoffLimitExceeded"
_JOB_CONTROLLER = "kubernetes.io/job-controller"
_NOT_YET = frozenset({"PodInitializing", "ContainerCreating"})
"""Reasons of a container that waits for others, or is being started."""


def delay(job: JobObject, own: OwnContainers) -> str:
    """What comes before its first container, as far as the Job and its pod show it."""
    if own.pod is None:
        managed = job.spec.managed_by not in ("", _JOB_CONTROLLER)
        return f"its Job is managed by {job.spec.managed_by}" if managed else ""
    if own.taken_away or own.pod.deleted_at:
        disrupted = true_condition(own.status.conditions, "DisruptionTarget")
        why = disrupted.message if disrupted else own.status.message or own.status.reason
        return f"its pod was taken from its node, and is to be replaced{f': {why}' if why else ''}"
    for each in reversed(_earlier(own)):
        if (waiting := each.state.waiting) and waiting.reason not in _NOT_YET:
            return f"{each.name}, which is not the job's: {waiting.reason}: {waiting.message}"
        if each.state.running is not None and not each.ready:
            return f"the init container {each.name}, which is not the job's, runs"
    known = [(each.name, each.state.waiting) for each in own.statuses if not own.waiting]
    reasons = [f"{name}: {why.reason}: {why.message}" for name, why in known if why and why.reason not in _NOT_YET]
    return next(iter(reasons), "")


def disruption(job: JobObject, own: OwnContainers) -> str:
    """How the cluster, or somebody, took the pod away; empty if that did not end the run."""
    if own.end or own.others_end or own.disk_exhausted or own.overdue or own.refused or not job.ended:
        return ""
    if own.taken_away:
        return "its node ended or rejected its pod"
    if job.ended.reason == DEADLINE or job.cancelled or job.ended_as:
        return ""
    if own.placeholder:
        return "its node lost its container"
    if own.pod is None:
        return "its pod was deleted" if job.ended.reason in POD_FAILED else ""
    return "its pod was deleted" if own.pod.deleted_at else ""


def message(job: JobObject, own: OwnContainers) -> str:
    """What the cluster says about the end: evidence for a person, the cause first.

    That the backoff limit is reached is said only where nothing else is known: a Job's first failure reaches it.
    """
    disrupted = true_condition(own.status.conditions, "DisruptionTarget")
    ends = [each.state.terminated for each in own.statuses if each.state.terminated]
    said, reason = (job.ended.message, job.ended.reason) if job.ended else ("", "")
    texts = [
        disruption(job, own),
        _failure_of_others(own),
        _unended_other(own),
        disrupted.message if disrupted else "",
        f"{own.status.reason}: {own.status.message}" if own.status.reason else own.status.message,
        *(end.message for end in ends),
        said if reason != _BACKOFF_LIMIT else "",
    ]
    return "\n".join(dict.fromkeys(text for text in texts if text)) or ("" if own.end else said)


def _earlier(own: OwnContainers) -> Sequence[ContainerStatus]:
    """The injected init containers that start before the first own container, in their order."""
    return list(itertools.takewhile(lambda each: each is not own.init, own.status.init_container_statuses))


def _failure_of_others(own: OwnContainers) -> str:
    """The failure of an injected init container, which kept the own ones from starting."""
    if own.end or not (end := own.others_end):
        return ""
    said = f"{end.state.reason}, exit code {end.state.exit_code}{f': {end.state.message}' if end.state.message else ''}"
    return f"the init container {end.container}, which is not the job's, ended: {said}"


def _unended_other(own: OwnContainers) -> str:
    """The injected init container between the own ones that has not ended, so that the main one never started."""
    if own.init is None or own.main is None or own.main.started:
        return ""
    later = own.status.init_container_statuses[len(_earlier(own)) + 1 :]
    name = next((each.name for each in later if not (each.state.terminated or each.ready)), "")
    said = f"{own.main.name} had not started: the init container {name}, which is not the job's, had not ended"
    return said if name else ""
