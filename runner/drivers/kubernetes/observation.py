"""Translates a Job and its pod into an Observation, which all drivers share. Pure.

The phase follows the job's own containers as soon as the pod shows their end. Else the Job's conditions decide.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from runner.drivers.claims import ASSUMED
from runner.drivers.kubernetes.manifest import (
    ANSWER,
    CANCELLED,
    FINGERPRINT,
    POOL,
    PUBLISHED,
    QUEUE,
    REPORT,
    REPORTED,
    SECRET,
    SET_ASIDE,
)
from runner.drivers.kubernetes.objects import Condition, JobObject, PodObject, true_condition
from runner.drivers.kubernetes.pods.own_containers import ContainerEnd, OwnContainers
from runner.drivers.kubernetes.pods.texts import delay, disruption, message
from runner.drivers.kubernetes.pods.versions import UNKNOWN_TIME
from runner.drivers.kubernetes.reasons import (
    DEADLINE,
    IMAGE_REASONS,
    START_ERRORS,
    is_out_of_memory,
    may_pass,
    node_may_recover,
)
from runner.jobs import Report
from runner.observation import Observation, Phase

_GRACE, _SHOWN = timedelta(seconds=30), timedelta(seconds=5)
"""A pod's grace period, by default; and how long the kubelet may take to show the end of a container."""
_SECRET_KINDS = ("secret", "secrets")
"""How a kubelet calls a Secret that it misses: it depends on whether it watches Secrets or asks for them."""


def observation(job: JobObject, pod: PodObject | None, driver: str, clock_ahead: float = 0.0) -> Observation:
    """The observation of one job, with the evidence from its latest pod.

    `clock_ahead`: by how many seconds the cluster's clock is ahead of this host's, by which limits are measured.
    """
    annotations, set_aside = job.metadata.annotations, SET_ASIDE in (job.metadata.labels or {})
    own = OwnContainers(job, pod)
    end, phase = own.end, _phase(job, own)
    return Observation(
        name=job.metadata.name,
        driver=driver,
        place=job.metadata.namespace,
        identity=job.metadata.uid,
        pool=annotations.get(POOL, ""),
        phase=phase,
        created=_made(job),
        ended=_ended(job, end),
        report=_report(annotations.get(REPORT)),
        fingerprint=annotations.get(FINGERPRINT, ""),
        cancelled=job.cancelled,
        cancellation=_report(annotations.get(CANCELLED)),
        reported=is_reported(job),
        set_aside=set_aside,
        answer=annotations.get(ANSWER, "") if set_aside else "",
        published=_published(job),
        ended_as=job.ended_as,
        resent=job.resent,
        instance=pod.metadata.name if pod and not own.lost_at else "",
        unsettled=job.claim == ASSUMED,
        lingers=end is not None and (own.others_run or own.is_replaced) and _is_let_run(job, own),
        **_wait(job, own, phase, clock_ahead),
        **{**_refusal(job, own), **_failure(job, own, phase)},
        ends_by=_ends_by(job, own, clock_ahead),
    )


def identified(job: JobObject, driver: str) -> Observation:
    """An observation that says which job it is, and nothing else."""
    of, pool = job.metadata, job.metadata.annotations.get(POOL, "")
    return Observation(
        name=of.name, driver=driver, pool=pool, phase="gone", created=_made(job), place=of.namespace, identity=of.uid
    )


def is_reported(job: JobObject) -> bool:
    """Whether nothing is to be published of this job any more. Release 0.1 wrote only the annotation."""
    labels = job.metadata.labels or {}
    return REPORTED in labels or SET_ASIDE in labels or REPORTED in job.metadata.annotations


def reported_as(job: JobObject) -> str:
    """The reason that its mark has; empty if it has none."""
    labels = job.metadata.labels or {}
    return labels.get(REPORTED, "") or job.metadata.annotations.get(REPORTED, "") or labels.get(SET_ASIDE, "")


def _published(job: JobObject) -> str:
    """The reason of the end that atlas has accepted. A cancel that came later moved it to an annotation of its own."""
    annotations = job.metadata.annotations
    return annotations.get(PUBLISHED, "" if job.cancelled else annotations.get(REPORTED, ""))


def _phase(job: JobObject, own: OwnContainers) -> Phase:
    if own.end:
        return "failed" if own.end.state.exit_code else "succeeded"
    if own.status.phase == "Succeeded":  # every container ended with 0, although the statuses do not show it
        return "succeeded"
    if job.ended:
        return "succeeded" if job.completed else "failed"
    return "running" if not job.spec.suspend and own.goes_on else "waiting"


def _is_let_run(job: JobObject, own: OwnContainers) -> bool:
    """Whether nobody ends the pod yet."""
    is_deleted = own.pod is not None and own.pod.deleted_at is not None and not own.is_replaced
    return not (job.ended or job.ended_as or job.cancelled or is_deleted)


def _made(of: JobObject | PodObject | None) -> float:
    """When it was made; a pod may have replaced a disrupted one."""
    return of.metadata.creation_timestamp.timestamp() if of and of.metadata.creation_timestamp else 0.0


def _ended(job: JobObject, end: ContainerEnd | None) -> float | None:
    """The time of the container's end, else of the Job's."""
    at = end.state.finished_at if end else None
    at = at or (job.ended.last_transition_time if job.ended else None)
    return at.timestamp() if at else None


def _wait(job: JobObject, own: OwnContainers, phase: Phase, clock_ahead: float) -> dict[str, Any]:
    """Since when it waits for its first container, who holds it, and why no node takes it.

    A pod that was lost is as none: the Job waits for another one.
    """
    if phase == "waiting" and own.lost_at and not job.spec.suspend:
        since = max(_queued_since(job), own.lost_at.timestamp())
        return {"queued_since": since - clock_ahead, "delay": delay(job, own)}
    condition = next((each for each in own.status.conditions if each.type == "PodScheduled"), Condition(type=""))
    pending, gated = condition.status == "False", condition.reason == "SchedulingGated"
    scheduled = condition.status == "True" or bool(own.pod and own.pod.statuses)
    delays = phase == "waiting" and not (job.spec.suspend or pending)
    facts = {
        "unschedulable": condition.message if pending and not gated else "",
        "scheduled": scheduled,
        "begun": own.begun,
        "delay": delay(job, own) if delays else "",
    }
    if phase != "waiting" or (own.started and not job.spec.suspend) or _is_being_resumed(job):
        return facts
    held = ""
    if job.spec.suspend:
        queue = (job.metadata.labels or {}).get(QUEUE, "")
        held = f"queue {queue}" if queue else "the suspension of its Job"
    elif pending and gated:
        held = "its pod's schedulingGates"
    since, made = _queued_since(job), _made(own.pod)
    later = max(0.0, made - since)
    return {**facts, "held": held, "queued_since": since + later - clock_ahead, "pod_delay": later}


def _is_being_resumed(job: JobObject) -> bool:
    """Whether a queue has admitted it, and the Job controller has not yet said when. No limit is counted until then."""
    return not job.spec.suspend and true_condition(job.status.conditions, "Suspended") is not None


def _queued_since(job: JobObject) -> float:
    """Its creation, or when a queue last suspended or resumed it."""
    suspension = next((each for each in job.status.conditions if each.type == "Suspended"), None)
    changed = suspension.last_transition_time if suspension else None
    return max(_made(job), changed.timestamp() if changed else 0.0)


def _ends_by(job: JobObject, own: OwnContainers, clock_ahead: float) -> float:
    """See Observation.ends_by. The Job controller deletes the pod, with its grace period; the kubelet shows the end."""
    if not _is_timed_out(job, own) or not any(each.state.running for each in own.statuses):
        return 0.0
    removed, at = own.pod and own.pod.metadata.deletion_timestamp, job.ended and job.ended.last_transition_time
    if removed == UNKNOWN_TIME:
        return 0.0
    by = removed or (at and at + _GRACE)
    return (by + _SHOWN).timestamp() - clock_ahead if by else 0.0


def _refusal(job: JobObject, own: OwnContainers) -> dict[str, Any]:
    """Why a container cannot start, from its reason alone."""
    end = own.end
    if own.refused:
        return {"configuration_error": own.refused}
    if end and end.state.reason in START_ERRORS and not end.out_of_memory:
        return {"configuration_error": f"{end.container}: {end.state.reason}: {end.state.message}"}
    if own.lost_at or (status := own.waiting) is None or (waiting := status.state.waiting) is None:
        return {}
    said = f"{status.name}: {waiting.reason}: {waiting.message}"
    if waiting.reason in IMAGE_REASONS:
        return {"image_error": said, "registry_error": may_pass(waiting.reason, waiting.message)}
    if waiting.message in [f'{kind} "{job.metadata.annotations.get(SECRET)}" not found' for kind in _SECRET_KINDS]:
        return {"incomplete": not disruption(job, own)}  # it may have been completed after that, and have run
    if is_out_of_memory(waiting.reason, waiting.message):
        return {"configuration_error": said, "out_of_memory": True, "container": status.name}
    return {"configuration_error": said, "registry_error": node_may_recover(waiting.message)}


def _failure(job: JobObject, own: OwnContainers, phase: Phase) -> dict[str, Any]:
    """Why it failed, or how it came to its end. While it goes on, only what cannot be undone."""
    if phase not in ("succeeded", "failed"):
        return {"init_exit": own.init_exit if own.init_exit == 0 else None}
    exits = {"init_exit": own.init_exit, "main_exit": own.main_exit}
    if phase == "succeeded":
        return exits
    return {
        **exits,
        "timed_out": _is_timed_out(job, own),
        "disrupted": bool(disruption(job, own)),
        "disk_exhausted": "" if own.end else own.disk_exhausted,
        "out_of_memory": own.end is not None and own.end.out_of_memory,
        "container": own.end.container if own.end else own.last_started,
        "signal": own.end.signal if own.end else 0,
        "message": message(job, own),
    }


def _is_timed_out(job: JobObject, own: OwnContainers) -> bool:
    """Whether its deadline ended it, or its pod's. What failed by itself had only left something running until then."""
    return own.end is None and job.ended is not None and (job.ended.reason == DEADLINE or own.overdue)


def _report(encoded: str | None) -> Report | None:
    if not encoded:
        return None
    try:
        return msgspec.json.decode(encoded, type=Report)
    except msgspec.MsgspecError:  # the annotation was edited
        return None
