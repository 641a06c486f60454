"""What a job's own containers did, from the status of its pod. Pure.

A pod may have more containers than its Job asks for: webhooks inject them. Those are not the job's own: their exits and
logs explain nothing. Own containers are found by name.

A container's state is a fact only if the container runtime reported it. After it lost a container, the kubelet writes a
placeholder. The end of a container that was being stopped is no end by itself: the reason of the stop explains it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from runner.drivers.kubernetes.images import IMAGE_REASONS
from runner.drivers.kubernetes.objects import (
    Condition,
    ContainerStatus,
    JobObject,
    PodObject,
    PodStatus,
    Terminated,
    true_condition,
)

PLACEHOLDERS = frozenset({"ContainerStatusUnknown", "Unknown"})
"""Reasons of an end that nobody saw: the container was gone, or the node had rebooted."""

START_ERRORS = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container whose program never started (containerd, Docker)."""

CONFIGURATION_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
)
"""Reasons of a waiting container (kubelet, package kuberuntime)."""

EVICTED = "Evicted"
_OWN_DISK_LIMIT = (
    "Pod ephemeral local storage usage exceeds the total limit",
    "Usage of EmptyDir volume ",
)
_OWN_CONTAINER_DISK_LIMIT = ("Container ", " exceeded its local ephemeral storage limit ")
"""Beginnings of the kubelet's message (kubelet, eviction/helpers.go). If the node is full, it begins otherwise."""

_REJECTIONS = frozenset(
    {"UnexpectedAdmissionError", "TopologyAffinityError", "InvalidNodeInfo", "Terminated", "Shutdown", "Preempting"}
)
_REJECTION_PREFIXES = ("OutOf", "Node")
"""Reasons of a pod that its kubelet rejected or ended: OutOfmemory, OutOfpods, NodeAffinity, NodeShutdown, NodeLost."""

_STOPPED = frozenset({137, 143})
_SIGNALS = range(129, 193)


class ContainerEnd(msgspec.Struct, frozen=True):
    """The end of one own container, as the container runtime reported it."""

    container: str
    state: Terminated

    @property
    def code(self) -> int | None:
        """The program's exit code; None if it never started."""
        return None if self.state.reason in START_ERRORS else self.state.exit_code

    @property
    def signal(self) -> int:
        """The signal that killed the program; 0 if none did."""
        code = self.state.exit_code
        return self.state.signal or (code - 128 if self.state.reason == "Error" and code in _SIGNALS else 0)


class OwnContainers:
    """The job's own containers in its pod."""

    def __init__(self, job: JobObject, pod: PodObject | None) -> None:
        self.pod = pod
        self.status = pod.status if pod else PodStatus()
        self.init = pod.container(job.init) if pod and job.init else None
        self.main = pod.container(job.main) if pod and job.main else None

    def __repr__(self) -> str:
        return f"OwnContainers(init={self.init}, main={self.main})"

    @property
    def statuses(self) -> tuple[ContainerStatus, ...]:
        """In the order in which they run."""
        return tuple(each for each in (self.init, self.main) if each)

    @property
    def started(self) -> bool:
        """Whether one of them runs or has run."""
        return any(each.started for each in self.statuses)

    @property
    def goes_on(self) -> bool:
        """Whether one of them runs, or has run and the next one is about to start."""
        runs = any(each.state.running is not None for each in self.statuses)
        stops = self.pod is not None and self.pod.deleted_at is not None
        return runs or (self.started and self.waiting is None and not stops)

    @property
    def last_started(self) -> str:
        """The one that started last; empty if none has started."""
        return next((each.name for each in reversed(self.statuses) if each.started), "")

    @property
    def placeholder(self) -> bool:
        """Whether one of them is gone, and nobody saw how it ended."""
        ends = [each.state.terminated for each in self.statuses]
        return any(end is not None and end.reason in PLACEHOLDERS for end in ends)

    @property
    def end(self) -> ContainerEnd | None:
        """The end that decides the run: a failure by itself, or the main container's success, whatever came after."""
        init, main = _end(self.init), _end(self.main)
        if main and main.state.exit_code == 0:
            return main
        if init and init.state.exit_code and not self._was_stopped(init.state):
            return init
        return main if main and not self._was_stopped(main.state) else None

    @property
    def init_exit(self) -> int | None:
        """The exit code of the init container."""
        return end.code if (end := _end(self.init)) else None

    @property
    def main_exit(self) -> int | None:
        """The exit code of the main container."""
        return end.code if (end := _end(self.main)) else None

    @property
    def disk_exhausted(self) -> str:
        """The kubelet's message if it evicted the pod for the pod's own disk limits."""
        message = self.status.message.strip()
        begin, middle = _OWN_CONTAINER_DISK_LIMIT
        own = message.startswith(_OWN_DISK_LIMIT) or (message.startswith(begin) and middle in message)
        return message if self.status.reason == EVICTED and own else ""

    @property
    def taken_away(self) -> bool:
        """Whether the node ended or rejected the pod, for whatever reason, or the cluster takes it from the node."""
        return self._ended_by_node or self._disruption is not None

    @property
    def waiting(self) -> ContainerStatus | None:
        """The container that cannot start and so holds up the job, with the kubelet's reason.

        It may be an injected init container: the own containers start after it. An injected main container delays none.
        """
        injected = () if self.main and self.main.started else self.status.init_container_statuses
        return next((each for each in (*self.statuses, *injected) if _is_refused(each)), None)

    @property
    def others_run(self) -> bool:
        """Whether an injected container keeps the pod open. The kubelet itself ends native sidecars."""
        others = [each for each in self.status.container_statuses if self.main is None or each.name != self.main.name]
        return self.status.phase in ("Pending", "Running") and any(each.state.terminated is None for each in others)

    @property
    def _ended_by_node(self) -> bool:
        reason = self.status.reason
        return reason == EVICTED or reason in _REJECTIONS or reason.startswith(_REJECTION_PREFIXES)

    @property
    def _disruption(self) -> Condition | None:
        return true_condition(self.status.conditions, "DisruptionTarget")

    def _was_stopped(self, end: Terminated) -> bool:
        """Whether something stopped the container, so that its exit code is not of its own doing."""
        if end.reason == "OOMKilled" or end.reason in START_ERRORS:
            return False
        if self._ended_by_node:
            return True
        if (stopped := self._stopped_at()) is None:
            return self._disruption is not None
        if end.finished_at is None or end.finished_at > stopped:
            return True
        return end.finished_at == stopped and end.exit_code in _STOPPED  # whole seconds

    def _stopped_at(self) -> datetime | None:
        """When the cluster began to stop the pod: it was deleted or a disruption was announced."""
        announced = self._disruption.last_transition_time if self._disruption else None
        deleted = self.pod.deleted_at if self.pod else None
        return min((each for each in (announced, deleted) if each), default=None)


def latest_pod(known: PodObject | None, other: PodObject) -> PodObject:
    """The later of two pods of one Job. The earlier one was disrupted and replaced."""
    if known is None:
        return other
    return max(
        known, other, key=lambda pod: (pod.metadata.creation_timestamp is not None, pod.metadata.creation_timestamp)
    )


def _end(status: ContainerStatus | None) -> ContainerEnd | None:
    if status is None or (end := status.state.terminated) is None or end.reason in PLACEHOLDERS:
        return None
    return ContainerEnd(status.name, end)


def _is_refused(status: ContainerStatus) -> bool:
    waiting = status.state.waiting
    return waiting is not None and waiting.reason in IMAGE_REASONS | CONFIGURATION_REASONS
