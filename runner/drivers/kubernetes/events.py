"""What only the cluster's events say of a job that waits. Pure.

Events expire, are best effort and may be old news. So they explain a wait; they decide no end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from runner.drivers.kubernetes.objects import Metadata, PageMetadata
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.observation import Observation

_REFUSED = "FailedCreate"
_CREATING = "Error creating: "
_UNMOUNTED = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_MOUNTED = frozenset({"Pulling", "Pulled", "BackOff", "Created", "Started"})
"""Reasons that only follow after all volumes are mounted."""
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
    """Why the Job gets no pod, from the Job's events, in the cluster's words."""
    found = _last(events, _REFUSED)
    return {"not_admitted": found.removeprefix(_CREATING)} if found else {}


def wait(seen: Observation, events: Sequence[EventObject]) -> dict[str, Any]:
    """Why the pod does not start, from the pod's events: a volume, or no node. Its status takes precedence."""
    reasons = {each.reason for each in events}
    if not reasons & _MOUNTED and (unmounted := _last(events, *_UNMOUNTED)):
        return {} if seen.image_error or seen.configuration_error else {"configuration_error": unmounted}
    if "Scheduled" not in reasons and (unscheduled := _last(events, _UNSCHEDULED)):
        return {"unschedulable": seen.unschedulable or unscheduled}
    return {}


def _last(events: Sequence[EventObject], *reasons: str) -> str:
    """The message of the latest event with one of these reasons; empty if there is none."""
    found = [each for each in events if each.reason in reasons]
    return (max(found, key=lambda each: each.at).message or "") if found else ""
