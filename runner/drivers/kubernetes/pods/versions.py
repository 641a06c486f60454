"""What the versions and the pods of one Job show together: the first deletion of a pod, and the latest pod. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from runner.drivers.kubernetes.objects import JobObject, Metadata, PodObject

UNKNOWN_TIME = datetime(9999, 12, 31, tzinfo=UTC)
"""When a pod was deleted whose deletion was missed. Our own clock may be behind the times in the pod's status."""


def later(earlier: PodObject | None, pod: PodObject) -> PodObject:
    """A version of a pod, with what an earlier one has shown of its deletion, which cannot be undone."""
    metadata, stopped = pod.metadata, _order(pod)
    if earlier is not None and earlier.metadata.uid == metadata.uid:
        metadata, stopped = _first_deletion(earlier, pod), {**stopped, **earlier.stopped}
    return msgspec.structs.replace(pod, metadata=metadata, stopped=stopped)


def _order(pod: PodObject) -> dict[str, bool]:
    """For each container: True if the pod is deleted and the container has not ended, False for the reverse."""
    gone = pod.metadata.deletion_timestamp
    if gone == UNKNOWN_TIME:
        return {}
    ends = {each.name: each.state.terminated is not None for each in pod.statuses}
    return {name: not ended for name, ended in ends.items() if ended != (gone is not None)}


def deleted(pod: PodObject) -> PodObject:
    """The pod with a deletion timestamp: its own if it was deleted gracefully, else one after all that it showed."""
    if pod.metadata.deletion_timestamp is not None:
        return pod
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, deletion_timestamp=UNKNOWN_TIME))


def latest_pod(known: PodObject | None, other: PodObject) -> PodObject:
    """The later of two pods of one Job. The earlier one was disrupted and replaced."""
    if known is None:
        return other
    return max(known, other, key=order_made)


def order_made(pod: PodObject) -> tuple[float, bool]:
    """Times are in whole seconds; of two pods in one second, the one that is not deleted is later."""
    made = pod.metadata.creation_timestamp
    return made.timestamp() if made else 0.0, pod.metadata.deletion_timestamp is None


def _first_deletion(earlier: PodObject, pod: PodObject) -> Metadata:
    """The pod's metadata, with the earlier one's deletion if that is known and the first."""
    first, last = earlier.deleted_at, pod.deleted_at
    if first is None or earlier.metadata.deletion_timestamp == UNKNOWN_TIME or (last is not None and last <= first):
        return pod.metadata
    return msgspec.structs.replace(
        pod.metadata,
        deletion_timestamp=earlier.metadata.deletion_timestamp,
        deletion_grace_period_seconds=earlier.metadata.deletion_grace_period_seconds,
    )


def latest_of(pods: Iterable[PodObject], job: JobObject) -> PodObject | None:
    """The latest of the pods that the Job made."""
    latest: PodObject | None = None
    for pod in pods:
        latest = latest_pod(latest, pod) if pod.belongs_to(job) else latest
    return latest
