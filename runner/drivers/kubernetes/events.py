"""What only the cluster's events say of a job that waits. Pure.

Events expire, are best effort and may be old news. So they explain a wait; they decide no end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from runner.drivers.kubernetes.objects import Metadata, PageMetadata
from runner.drivers.kubernetes.reasons import node_may_recover
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.observation import Observation

_REFUSED, _CREATED = "FailedCreate", "SuccessfulCreate"
_CREATING = "Error creating: "
_DELAYS = frozenset(
    {
        *("FailedCreatePodSandBox", "FailedPodSandBoxStatus", "NetworkNotReady", "FailedCreatePodContainer"),
        *("FailedPrepareDynamicResources", "FailedSync"),
    }
)
"""Why the kubelet cannot start a container yet (kubelet, events/event.go). It tries for ever."""
_UNMOUNTED = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_MOUNTED = frozenset({"Pulling", "Pulled", "BackOff", "Created", "Started"})
"""Reasons that only follow after all volumes are mounted."""
_SUMMARY = re.compile(r"Unable to attach or mount volumes: |Unable to mount volumes for pod ")
"""The beginning of a message that says which volumes are missing, but not why (kubelet, volumemanager)."""
_UNSCHEDULED = "FailedScheduling"
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class EventObject(NullIsAbsent, frozen=True, rename="camel"):
    """An Event of the core group. Which of the times is set depends on the component that wrote it."""

    reason: Nullable[str] = ""
    message: Nullable[str] = ""
    event_time: datetime | None = None
    last_timestamp: datetime | None = None
    metadata: Nullable[Metadata] = Metadata()

    @property
    def at(self) -> datetime:
        """When it was seen last."""
        return self.last_timestamp or self.event_time or self.metadata.creation_timestamp or _LONG_AGO


class EventPage(NullIsAbsent, frozen=True):
    """A page of Events."""

    items: tuple[EventObject, ...] | None
    metadata: Nullable[PageMetadata] = PageMetadata()


def refusal(events: Sequence[EventObject]) -> dict[str, Any]:
    """Why the Job gets no pod, from the Job's events, in the cluster's words. Once it got one, that is history."""
    relevant = [each for each in events if each.reason in (_REFUSED, _CREATED)]
    latest = max(relevant, key=lambda each: (each.at, each.reason == _CREATED), default=EventObject())
    return {"not_admitted": latest.message.removeprefix(_CREATING)} if latest.reason == _REFUSED else {}


def wait(seen: Observation, events: Sequence[EventObject]) -> dict[str, Any]:
    """Why the pod does not start, from its events: a volume, its node, or no node. Its status takes precedence."""
    reasons = {each.reason for each in events}
    by_event = any(each.message == seen.configuration_error for each in events if each.reason in _UNMOUNTED)
    if not reasons & _MOUNTED and (unmounted := _unmounted(events)):
        if seen.image_error or (seen.configuration_error and not by_event):
            return {}
        passes = node_may_recover(unmounted)
        return {"configuration_error": unmounted, **({"registry_error": passes} if passes or by_event else {})}
    if by_event:  # and since then, its volumes were mounted
        return {"configuration_error": "", "registry_error": False, **_delay(seen, events)}
    if "Scheduled" not in reasons and (unscheduled := _last(events, _UNSCHEDULED)):
        return {"unschedulable": seen.unschedulable or unscheduled}
    return _delay(seen, events)


def _delay(seen: Observation, events: Sequence[EventObject]) -> dict[str, Any]:
    """What its node cannot do yet. That is history once a later event shows that the pod got further."""
    relevant = [each for each in events if each.reason in _DELAYS | _MOUNTED]
    latest = max(relevant, key=lambda each: each.at, default=EventObject())
    if latest.reason in _DELAYS:
        return {"delay": f"{latest.reason}: {latest.message}"}
    return {"delay": ""} if seen.delay.partition(":")[0] in _DELAYS else {}


def _unmounted(events: Sequence[EventObject]) -> str:
    """Why a volume is missing; which one, if no event says why."""
    causes = [each for each in events if not _SUMMARY.match(each.message)]
    return _last(causes, *_UNMOUNTED) or _last(events, *_UNMOUNTED)


def _last(events: Sequence[EventObject], *reasons: str) -> str:
    """The message of the latest event with one of these reasons; empty if there is none."""
    found = [each for each in events if each.reason in reasons]
    return max(found, key=lambda each: each.at).message if found else ""
