"""What a driver saw of a job, and how the job ended: the values that drivers and the tracker exchange."""

from __future__ import annotations

from typing import Literal

import msgspec

from runner.jobs import Report

Phase = Literal["waiting", "running", "succeeded", "failed", "gone"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a job: a stable reason, its code, one sentence for a person, and the evidence."""

    reason: str
    code: int
    hmessage: str
    err: str = ""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one job. Times are seconds since the epoch, by the cluster's clock.

    The phase follows the job's own containers: `succeeded` and `failed` as soon as they have ended, even if the cluster
    still runs something beside them (`lingers`).
    """

    name: str
    driver: str
    pool: str
    phase: Phase
    created: float

    place: str = ""
    """The namespace; empty on this host. A name is unique in one place."""
    identity: str = ""
    """Distinguishes jobs that have one name, one after the other: the Job's uid, or the nonce of its submit."""

    ended: float | None = None
    report: Report | None = None
    fingerprint: str = ""
    cancelled: bool = False
    cancellation: Report | None = None

    reported: bool = False
    """Atlas has everything that it is to hear of this job, or it was set aside."""
    set_aside: bool = False
    """Atlas refused its result for good."""
    answer: str = ""
    """With which answer, if it was set aside: the status and the beginning of the text, without credentials."""
    published: str = ""
    """The reason of the end that atlas has accepted. Set while `reported` is false if a cancel came after that."""
    ended_as: Outcome | None = None
    """The outcome that was stored with the job when it was ended, when it was cancelled after its end, or when its
    result was asked for again."""
    resent: int = 0
    """How often its result was asked for again (see Driver.resend). A mark counts only for the sending before it."""
    unsettled: bool = False
    """Another engine did not answer when its name was taken (see runner.drivers.claims). It may have to yield yet."""
    lingers: bool = False
    """The run has ended, but the cluster still runs something of the job. The tracker ends it."""

    queued_since: float | None = None
    """Since when the job waits for its first container, by this host's clock, where the tracker has to bound that."""
    pod_delay: float = 0.0
    """By how many seconds it would be queued for longer if its pod were the first one, and replaced none."""
    held: str = ""
    """Who keeps it from being scheduled, like `queue batch`. Then only `limits.admissionSeconds` bounds the wait."""
    incomplete: bool = False
    """Its secrets are missing: the submit has not been completed. A repeat of the request completes it."""
    not_admitted: str = ""
    """Why the cluster refuses to create its pod."""
    scheduled: bool = False
    """A node has its pod. It waits for none, and why no node took it is history."""
    begun: int = 0
    """How many of the containers that it waits for have started, those that somebody added included. On Nomad, how many
    tasks nothing keeps from starting. If it grows, what kept one from starting before is history."""
    unschedulable: str = ""
    delay: str = ""
    """What happens before its first container can start, or keeps it from that, where neither is an error of the job:
    its node makes no sandbox, pulls an image, or somebody's container comes first."""
    image_error: str = ""
    registry_error: bool = False
    """The error of the image may pass: the registry timed out, throttled (429) or failed (5xx). Or that of the
    configuration: the node was too slow."""
    configuration_error: str = ""

    timed_out: bool = False
    ends_by: float = 0.0
    """While its containers are stopped for its deadline: until when one of them may still show an end of its own, by
    this host's clock."""
    out_of_memory: bool = False
    disrupted: bool = False
    disk_exhausted: str = ""
    container: str = ""
    """The name of the container that explains the end; its log is the evidence."""
    instance: str = ""
    """Where that log is, if that is known: the name of the pod."""
    signal: int = 0
    """The signal that killed that container, if the cluster says so or its exit code does (128 + signal)."""
    init_exit: int | None = None
    main_exit: int | None = None
    message: str = ""
    log_tail: str = ""


_WAITS = ("held", "incomplete", "not_admitted", "image_error", "configuration_error")


def waits_otherwise(seen: Observation, now: Observation) -> bool:
    """Whether a job that was seen waiting has started since, or waits for another reason, or with another pod.

    A watch may be silent for half a minute, and a list may be stale.
    """
    if seen.phase != "waiting":
        return False
    released = bool(seen.held) and not now.held
    other_pod = now.instance != seen.instance
    return (
        now.phase == "running"
        or released
        or now.begun > seen.begun
        or (now.scheduled and not seen.scheduled)
        or other_pod
        or any(getattr(now, name) and not getattr(seen, name) for name in _WAITS)
    )
