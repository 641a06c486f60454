"""What a job's own containers did, from the status of its pod. Pure.

A pod may have more containers than its Job asks for: webhooks inject them. Those are not the job's own: their exits and
logs explain nothing. Own containers are found by name.

A container's state is a fact only if the container runtime reported it. After it lost a container, the kubelet writes a
placeholder. The end of a container that was being stopped is no end by itself: the reason of the stop explains it.

Whether it was being stopped follows from the order in which the versions of the pod showed its deletion and the end,
and from their times. Those are in whole seconds, from two clocks: of the API server and of the node.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

import msgspec

from runner.drivers.kubernetes.objects import (
    Condition,
    ContainerStatus,
    JobObject,
    PodObject,
    PodStatus,
    Terminated,
    true_condition,
)
from runner.drivers.kubernetes.pods.versions import UNKNOWN_TIME
from runner.drivers.kubernetes.reasons import (
    CONFIGURATION_REASONS,
    EVICTED,
    IMAGE_REASONS,
    PLACEHOLDERS,
    POD_DEADLINE,
    SECURITY_REASONS,
    START_ERRORS,
    is_out_of_memory,
    is_own_disk_limit,
    is_rejected,
)

_STOPPED = frozenset({137, 143})
"""Exit codes of SIGKILL and SIGTERM. Programs also have others: one in Go that is process 1 ends SIGTERM with 2."""

_CLOCKS_APART = timedelta(seconds=2)
"""How far the node's clock may be behind the API server's."""

_REMOVAL = timedelta(seconds=60)
"""The longest time from a container's end to the removal of its pod: the other containers' grace period, and a slow
kubelet."""

_SIGNALS = range(129, 193)

_BY_KUBELET = "TerminationByKubelet"
"""The reason of a disruption that the kubelet announced, before it stopped the containers."""


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

    @property
    def out_of_memory(self) -> bool:
        """Whether it ended for lack of memory."""
        return is_out_of_memory(self.state.reason, self.state.message)


class OwnContainers:
    """The job's own containers in its pod."""

    def __init__(self, job: JobObject, pod: PodObject | None) -> None:
        self.pod = pod
        self.status = pod.status if pod else PodStatus()
        self.init = pod.container(job.init) if pod and job.init else None
        self.main = pod.container(job.main) if pod and job.main else None
        self._is_last = job.ended is not None and job.ended.reason == "BackoffLimitExceeded"
        self._job_goes_on = job.ended is None

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
        stops = self.pod is not None and (self.pod.deleted_at is not None or self.pod.over)
        return runs or (self.started and self.waiting is None and not stops)

    @property
    def last_started(self) -> str:
        """The one that started last; empty if none has started."""
        return next((each.name for each in reversed(self.statuses) if each.started), "")

    @property
    def awaited(self) -> tuple[ContainerStatus, ...]:
        """The own containers, and the init ones that somebody added, unless the main one has started after them."""
        others = () if self.main and self.main.started else self.status.init_container_statuses
        return (*self.statuses, *(each for each in others if each is not self.init))

    @property
    def begun(self) -> int:
        """How many of the awaited containers have started."""
        ends = [each.state.terminated for each in self.awaited if each.started]
        return sum(end is None or end.reason not in PLACEHOLDERS for end in ends)

    @property
    def placeholder(self) -> bool:
        """Whether an awaited container is gone, and nobody saw how it ended."""
        ends = [each.state.terminated for each in self.awaited]
        return any(end is not None and end.reason in PLACEHOLDERS for end in ends)

    @cached_property
    def end(self) -> ContainerEnd | None:
        """The end that decides the run: a failure by itself, or the main container's success, whatever came after."""
        init, main = self._end(self.init), self._end(self.main)
        if main and main.state.exit_code == 0:
            return main
        if init and init.state.exit_code and not self._was_stopped(init):
            return init
        return main if main and not self._was_stopped(main) else None

    @property
    def others_end(self) -> ContainerEnd | None:
        """The failure, by itself, of an init container that somebody added: no own container starts after that.

        One before an own container that has started is none: it has started again, or goes on beside the next ones.
        """
        order = self.status.init_container_statuses
        passed = order.index(self.init) if self.init in order and self.init.started else 0
        ends = [self._end(each) for each in self.awaited[len(self.statuses) + passed :]]
        return next((end for end in ends if end and end.state.exit_code and not self._was_stopped(end)), None)

    @property
    def init_exit(self) -> int | None:
        """The exit code of the init container."""
        return end.code if (end := self._end(self.init)) else None

    @property
    def main_exit(self) -> int | None:
        """The exit code of the main container."""
        return end.code if (end := self._end(self.main)) else None

    @property
    def disk_exhausted(self) -> str:
        """The kubelet's message if it evicted the pod for the pod's own disk limits."""
        message = self.status.message.strip() if self.status.reason == EVICTED else ""
        return message if is_own_disk_limit(message, [each.name for each in self.statuses]) else ""

    @property
    def overdue(self) -> bool:
        """Whether the kubelet ended the pod because it ran longer than its own deadline."""
        return self.status.reason == POD_DEADLINE

    @property
    def refused(self) -> str:
        """Why the kubelet refused the pod's security settings; empty if it did not."""
        return f"{self.status.reason}: {self.status.message}" if self.status.reason in SECURITY_REASONS else ""

    @property
    def taken_away(self) -> bool:
        """Whether the node ended or rejected the pod, for whatever reason, or the cluster takes it from the node."""
        return self._ended_by_node or self._disruption is not None

    @property
    def is_replaced(self) -> bool:
        """Whether the Job makes another pod once this one has failed: a disruption counts for no failure of the Job."""
        return self._job_goes_on and self._disruption is not None and self.status.phase != "Succeeded"

    @property
    def lost_at(self) -> datetime | None:
        """When the pod was lost, if that ended no run: the Job makes another one, or is refused one. Else None."""
        if self.pod is None or not (self._job_goes_on and self.pod.over):
            return None
        if self.end or self.status.phase == "Succeeded":
            return None
        times = [*self._ends, self.pod.metadata.creation_timestamp, self._stopped_at(before_end=True)]
        return max((each for each in times if each and each.year < UNKNOWN_TIME.year), default=None)

    @property
    def waiting(self) -> ContainerStatus | None:
        """The awaited container that cannot start and so holds up the job, with the kubelet's reason.

        An injected main container delays none.
        """
        return next((each for each in self.awaited if _is_refused(each)), None)

    @property
    def others_run(self) -> bool:
        """Whether an injected container keeps the pod open. The kubelet itself ends native sidecars."""
        others = [each for each in self.status.container_statuses if self.main is None or each.name != self.main.name]
        return self.status.phase in ("Pending", "Running") and any(each.state.terminated is None for each in others)

    @property
    def _ended_by_node(self) -> bool:
        return self.status.reason == EVICTED or is_rejected(self.status.reason, self.status.message)

    @property
    def _disruption(self) -> Condition | None:
        return true_condition(self.status.conditions, "DisruptionTarget")

    @property
    def _ends(self) -> list[datetime]:
        """When the containers of the pod ended, those that somebody added included."""
        ended = [each.state.terminated for each in (self.pod.statuses if self.pod else ()) if each.state.terminated]
        return [end.finished_at for end in ended if end.finished_at]

    def _end(self, status: ContainerStatus | None) -> ContainerEnd | None:
        """Its end. One before a restart counts once the Job has ended for it: it allows no restart."""
        if status is None:
            return None
        end = status.state.terminated or (status.last_state.terminated if self._is_last else None)
        return ContainerEnd(status.name, end) if end and end.reason not in PLACEHOLDERS else None

    def _was_stopped(self, end: ContainerEnd) -> bool:
        """Whether something stopped the container, so that its exit code is not of its own doing."""
        if self.is_replaced and not self._ended_before_its_disruption(end):
            return True
        if end.out_of_memory or end.state.reason in START_ERRORS:
            return False
        if self._ended_by_node or self.overdue:
            return not self._ended_before_its_node_ended_it(end)
        shown = self.pod.stopped.get(end.container) if self.pod else None
        if (stopped := self._stopped_at(before_end=shown is not False)) is None:
            return self._disruption is not None
        if (finished := end.state.finished_at) is None or finished > stopped:
            return True
        if end.state.exit_code in _STOPPED:
            return shown is True or finished >= stopped - self._uncertainty
        return shown is True and finished == stopped

    def _ended_before_its_disruption(self, end: ContainerEnd) -> bool:
        """Whether it ended before the cluster began to take the pod away, whatever the clocks."""
        announced = self._disruption.last_transition_time if self._disruption else None
        finished = end.state.finished_at
        return announced is not None and finished is not None and finished < announced - _CLOCKS_APART

    def _ended_before_its_node_ended_it(self, end: ContainerEnd) -> bool:
        """Whether it ended before its kubelet, by the same clock, announced that it ends the pod.

        Its own limits, it does not announce. It stops all containers at once, and the last one ends within its grace
        period.
        """
        by, finished = self._disruption, end.state.finished_at
        if finished is None:
            return False
        announced = by.last_transition_time if by and by.reason == _BY_KUBELET else None
        if announced is None:
            return by is None and finished < max(self._ends, default=finished) - _REMOVAL
        return finished < (announced - _CLOCKS_APART if end.state.exit_code in _STOPPED else announced)

    def _stopped_at(self, *, before_end: bool) -> datetime | None:
        """When the cluster began to stop the pod: a disruption was announced, or it was deleted before the end."""
        announced = self._disruption.last_transition_time if self._disruption else None
        deleted = self.pod.deleted_at if self.pod and before_end else None
        return min((each for each in (announced, deleted) if each), default=None)

    @property
    def _uncertainty(self) -> timedelta:
        """How long before the time of `_stopped_at` the stop may have begun."""
        return _REMOVAL if self.pod is not None and self.pod.hastened else _CLOCKS_APART


def _is_refused(status: ContainerStatus) -> bool:
    waiting = status.state.waiting
    return waiting is not None and waiting.reason in IMAGE_REASONS | CONFIGURATION_REASONS


def log_container(job: JobObject | None, pod: PodObject) -> str:
    """The container whose log to read: the main one if it has started, else the init one. Injected ones have others."""
    own = OwnContainers(job, pod) if job else None
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    names = [own.last_started or next((each.name for each in own.statuses), "")] if own else []
    return next(filter(None, (*names, *(each.name for each in statuses))), "")
