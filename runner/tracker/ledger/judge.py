"""Judges a job that has not ended: may it wait longer, or has it passed a limit? Pure.

    queue holds it                limits.admissionSeconds ─▶ not_admitted
    cannot work as it is          limits.imageSeconds    ─▶ image_unavailable, misconfigured
    registry or node may recover  limits.registrySeconds ─▶ image_unavailable, misconfigured
    everything else               limits.queueSeconds    ─▶ not_admitted, unschedulable, misconfigured

The queue limit holds beside the limits for images: it bounds the wait for the first container, whatever the reason.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from runner.config.types import LimitsSection
from runner.observation import Observation, Outcome
from runner.outcomes import explanation

Cause = Literal["", "held", "image", "registry", "configuration", "incomplete", "not_admitted", "unschedulable"]

UNEXPLAINED_SECONDS = 10.0
"""How long a job may wait without a reason until the cluster's events are read."""

REREAD_SECONDS = 30.0
"""Between two readings of the events of one job."""

RECENT_SECONDS = 10.0
"""Events that were read less long ago are not read again before the job is ended."""

_HELD = "held by {} for longer than limits.admissionSeconds"


class Passed(msgspec.Struct, frozen=True):
    """The job has passed a limit. It is to be ended for this outcome."""

    outcome: Outcome


class Waits(msgspec.Struct, frozen=True):
    """The job may wait. `seconds` until it must be judged again; None: only a change of the job matters."""

    seconds: float | None


def cause_of(seen: Observation) -> Cause:
    """Why a waiting job waits; empty if its observation does not say, or if it does not wait."""
    if seen.phase != "waiting":
        return ""
    if seen.held:
        return "held"
    if seen.incomplete:
        return "incomplete"
    if seen.registry_error and (seen.image_error or seen.configuration_error):
        return "registry"
    if seen.image_error:
        return "image"
    for cause, text in (
        ("configuration", seen.configuration_error),
        ("not_admitted", seen.not_admitted),
        ("unschedulable", seen.unschedulable),
    ):
        if text:
            return cause  # type: ignore[return-value]  # the literals above
    return ""


def judge(seen: Observation, cause_seconds: float, wall: float, limits: LimitsSection) -> Passed | Waits:
    """Judge a job that waits or runs. `cause_seconds`: for how long it has waited for its present cause."""
    if seen.phase != "waiting":
        return Waits(None)
    if seen.held:
        limit, since = limits.admission_seconds or None, seen.queued_since or seen.created
        return _bounded(seen, wall - since, limit, not_admitted=_HELD.format(seen.held))
    left = [_cause_limit(seen, cause_seconds, limits)]
    if seen.queued_since is not None:
        waited = max(0.0, wall - seen.queued_since)
        silent = "" if cause_of(seen) else f"no container of it started within {limits.queue_seconds} s"
        left.append(_bounded(seen, waited, limits.queue_seconds, unschedulable=silent or seen.unschedulable))
    for each in left:
        if isinstance(each, Passed):
            return each
    seconds = [each.seconds for each in left if isinstance(each, Waits) and each.seconds is not None]
    return Waits(min(seconds, default=None))


def _cause_limit(seen: Observation, waited: float, limits: LimitsSection) -> Passed | Waits:
    match cause_of(seen):
        case "image" | "configuration":
            return _bounded(seen, waited, limits.image_seconds)
        case "registry":
            return _bounded(seen, waited, limits.registry_seconds)
        case _:
            return Waits(None)


def _bounded(seen: Observation, waited: float, limit: float | None, **facts: str) -> Passed | Waits:
    if limit is None:
        return Waits(None)
    if waited >= limit:
        return Passed(explanation(msgspec.structs.replace(seen, **facts)))
    return Waits(limit - waited)
