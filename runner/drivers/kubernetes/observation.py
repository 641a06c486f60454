"""Translates a Job and its pod into an Observation, which all drivers share. Pure."""

from __future__ import annotations

import msgspec

from runner.drivers.kubernetes.manifest import CANCELLED, FINGERPRINT, POOL, REPORT, REPORTED
from runner.drivers.kubernetes.objects import (
    Condition,
    ContainerStatus,
    JobObject,
    PodObject,
    PodStatus,
    Terminated,
    Waiting,
    true_condition,
)
from runner.jobs import Report
from runner.observation import Observation, Phase

# Reasons of a waiting container, from the kubelet's packages images and kuberuntime.
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_CONFIGURATION_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
)


def observation(job: JobObject, pod: PodObject | None, driver: str) -> Observation:
    """The observation of one job, with the evidence from its latest pod."""
    annotations = job.metadata.annotations
    ended = job.ended
    status = pod.status if pod else PodStatus()
    waiting = _waiting(status)
    disruption = true_condition(status.conditions, "DisruptionTarget")
    unscheduled = next(
        (each for each in status.conditions if each.type == "PodScheduled" and each.status == "False"), None
    )
    return Observation(
        name=job.metadata.name,
        driver=driver,
        pool=annotations.get(POOL, ""),
        phase=_phase(job, pod),
        created=job.metadata.creation_timestamp.timestamp() if job.metadata.creation_timestamp else 0.0,
        ended=ended.last_transition_time.timestamp() if ended and ended.last_transition_time else None,
        report=_report(annotations.get(REPORT)),
        fingerprint=annotations.get(FINGERPRINT, ""),
        cancelled=job.cancelled,
        cancellation=_report(annotations.get(CANCELLED)),
        reported=REPORTED in annotations,
        timed_out=bool(ended and ended.reason == "DeadlineExceeded"),
        out_of_memory=any(end.reason == "OOMKilled" for end in _ends(status)),
        disrupted=bool(disruption) or status.reason == "Evicted",
        image_error=_waiting_reason(waiting, _IMAGE_REASONS),
        configuration_error=_waiting_reason(waiting, _CONFIGURATION_REASONS),
        unschedulable=unscheduled.message if unscheduled and unscheduled.reason == "Unschedulable" else "",
        init_exit=_exit(status.init_container_statuses),
        main_exit=_exit(status.container_statuses),
        message=_message(ended, disruption, status),
    )


def latest_pod(known: PodObject | None, other: PodObject) -> PodObject:
    """The later of two pods of one Job. The earlier one was disrupted and replaced."""
    if known is None:
        return other
    return max(
        known, other, key=lambda pod: (pod.metadata.creation_timestamp is not None, pod.metadata.creation_timestamp)
    )


def _phase(job: JobObject, pod: PodObject | None) -> Phase:
    if true_condition(job.status.conditions, "Complete"):
        return "failed" if job.cancelled else "succeeded"
    if job.ended:
        return "failed"
    started = (
        any(
            each.state.running is not None or each.state.terminated
            for each in (*pod.status.init_container_statuses, *pod.status.container_statuses)
        )
        if pod
        else False
    )
    return "running" if started else "waiting"


def _waiting(status: PodStatus) -> list[Waiting]:
    statuses = (*status.init_container_statuses, *status.container_statuses)
    return [each.state.waiting for each in statuses if each.state.waiting]


def _waiting_reason(waiting: list[Waiting], reasons: frozenset[str]) -> str:
    return next((f"{each.reason}: {each.message}" for each in waiting if each.reason in reasons), "")


def _ends(status: PodStatus) -> list[Terminated]:
    statuses = (*status.init_container_statuses, *status.container_statuses)
    return [each.state.terminated for each in statuses if each.state.terminated]


def _exit(statuses: tuple[ContainerStatus, ...]) -> int | None:
    return next((each.state.terminated.exit_code for each in statuses if each.state.terminated), None)


def _message(ended: Condition | None, disruption: Condition | None, status: PodStatus) -> str:
    texts = [ended.message if ended else "", disruption.message if disruption else "", status.message]
    texts += [end.message for end in _ends(status)]
    return "\n".join(dict.fromkeys(text for text in texts if text))


def _report(encoded: str | None) -> Report | None:
    if not encoded:
        return None
    try:
        return msgspec.json.decode(encoded, type=Report)
    except msgspec.MsgspecError:  # the annotation was edited
        return None
