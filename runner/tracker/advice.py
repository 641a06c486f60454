"""What an operator reads: why a job waits, by when it is ended, and what to do about how it ends. Pure.

docs/outcomes.md has the same advice for each reason; a test holds the two together.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from runner.config.types import LimitsSection
from runner.observation import Observation, Outcome
from runner.outcomes import explanation, in_short

State = Literal["waiting", "running", "succeeded", "failed", "cancelled"]

HELD, STARTING = "held", "starting"
"""Reasons of a wait that no outcome is named after: a queue holds the job, or nothing is known to be wrong."""

NOTHING = "Nothing."
ENDING = "Cancelled: the cluster is about to end it"
"""Of a job that was cancelled and has not ended yet."""

ADVICE: dict[str, str] = {
    "succeeded": NOTHING,
    "cancelled": NOTHING,
    "image_unavailable": (
        "Check the image's name and version, `imageRegistry` and its pull secret. Try the pull on a node."
    ),
    "unschedulable": (
        "Add capacity, lower the analyzer's limits, correct the pool's node selector, or raise `limits.queueSeconds`."
    ),
    "clone_failed": "Check the repository's URL, keys and commit; `err` has the end of coat's log.",
    "out_of_memory": "Raise the memory limit of the analyzer (of coat: that of the installation).",
    "timed_out": "Look for what takes so long in the log; raise the analyzer's time.",
    "disrupted": "Run it again. If it repeats, look at the nodes, and for who deletes pods.",
    "analyzer_failed": (
        "`err` has the end of its log. 137 without a reason is a SIGKILL from inside the pod or from the node."
    ),
    "misconfigured": "Correct what `err` names.",
    "deleted": (
        "Ask who deletes jobs with `manager=runner`. Repeat a request that was never completed: its answer says what "
        "became of it."
    ),
    "disk_exhausted": "Raise the limit, or find what fills the disk.",
    "not_admitted": "Correct what `err` names.",
    "unknown": "`err` has all that is known. Report it to us: a reason is missing here.",
    HELD: "Wait, or look at the queue: its quota, and what is in front of the job.",
    STARTING: (
        "Nothing yet. If that lasts for minutes, check that a tracker leads and that the cluster's own controllers run."
    ),
}
"""By reason. `err` is the evidence."""

_KUBELET = re.compile(r"(?P<container>[a-z0-9-]+): (?P<reason>[A-Z]\w+): ?(?P<message>.*)", re.DOTALL)
"""The driver's `container: Reason: message` of a container that cannot start."""


class Wait(msgspec.Struct, frozen=True):
    """Why a job waits: the reason of the outcome that it may get (or HELD, STARTING), and one line for a person."""

    reason: str
    text: str


class Limit(msgspec.Struct, frozen=True):
    """The limit that ends a wait: its key in the configuration, its seconds, and when, since the epoch, if known."""

    key: str
    seconds: int
    at: float | None


def state_of(seen: Observation) -> State:
    """What a job does, in one word."""
    outcome = in_short(seen)
    if outcome is None:
        return "running" if seen.phase == "running" else "waiting"
    if outcome.reason in ("succeeded", "cancelled"):
        return "succeeded" if outcome.reason == "succeeded" else "cancelled"
    return "failed"


def wait_of(seen: Observation) -> Wait | None:
    """Why it waits; None if it does not."""
    if seen.phase != "waiting" or state_of(seen) != "waiting":
        return None
    if seen.cancelled:
        return Wait("cancelled", ENDING)
    if seen.held:
        return Wait(HELD, f"{'Suspended' if seen.held.startswith('queue ') else 'Held'} by {seen.held}")
    if seen.incomplete:
        return Wait("misconfigured", "Incomplete: its secrets are missing; repeat the request")
    for reason, text in (
        ("image_unavailable", seen.image_error),
        ("out_of_memory" if seen.out_of_memory else "misconfigured", seen.configuration_error),
        ("not_admitted", seen.not_admitted and f"Not admitted: {seen.not_admitted}"),
        ("unschedulable", seen.unschedulable and f"Unschedulable: {seen.unschedulable}"),
    ):
        if text:
            return Wait(reason, _reason_first(text))
    return Wait(STARTING, f"Starting: {seen.delay or 'nothing is known to be wrong'}")


def reason_of(seen: Observation) -> str:
    """The reason of its outcome, or of its wait; empty while it runs."""
    if outcome := in_short(seen):
        return outcome.reason
    wait = wait_of(seen)
    return wait.reason if wait else ""


def limit_of(seen: Observation, limits: LimitsSection) -> Limit | None:
    """What bounds its wait; None if nothing does."""
    wait = wait_of(seen)
    if wait is None or seen.cancelled:
        return None
    since = seen.queued_since or seen.created
    if wait.reason == HELD:
        bound = limits.admission_seconds
        return Limit("limits.admissionSeconds", bound, since + bound) if bound else None
    if seen.registry_error and (seen.image_error or seen.configuration_error):
        return Limit("limits.registrySeconds", limits.registry_seconds, None)
    if seen.image_error or (seen.configuration_error and not seen.incomplete):
        return Limit("limits.imageSeconds", limits.image_seconds, None)
    return Limit("limits.queueSeconds", limits.queue_seconds, since + limits.queue_seconds)


def outcome_if_unchanged(seen: Observation) -> Outcome | None:
    """The outcome that a waiting job gets if nothing changes; None if nothing bounds its wait or it does not wait."""
    wait = wait_of(seen)
    if wait is None or wait.reason == HELD:
        return None
    if wait.reason == STARTING:
        return explanation(msgspec.structs.replace(seen, unschedulable="no container of it has started"))
    return explanation(seen)


def _reason_first(text: str) -> str:
    """`marvin: ErrImagePull: not found` as `ErrImagePull: marvin: not found`, since the reason is read first."""
    found = _KUBELET.fullmatch(text)
    return f"{found['reason']}: {found['container']}: {found['message']}" if found else text
