"""The objects of the Kubernetes API that the driver reads, as structs.

Each struct has only the fields that the driver uses: a list of 200 pods decodes in a millisecond, against fifty for the
official client's models. Fields: Kubernetes API reference, batch/v1 Job and core/v1 Pod.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from runner.drivers.claims import YIELDED
from runner.drivers.kubernetes.manifest import CANCELLED, CLAIM, CONTAINERS, ENDED, FINGERPRINT, RESENT
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.observation import Outcome

JOB_NAME, JOB_UID = "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"
"""The labels of a Job's pods."""


class _CamelCase(NullIsAbsent, frozen=True, rename="camel"):
    """Base of the structs: fields have Kubernetes' names, in camel case."""


class Metadata(_CamelCase, frozen=True):
    """An object's metadata."""

    name: Nullable[str] = ""
    namespace: Nullable[str] = ""
    uid: Nullable[str] = ""
    resource_version: Nullable[str] = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: Nullable[int] = 0
    labels: dict[str, str] | None = None
    annotations: Nullable[dict[str, str]] = {}


class Condition(_CamelCase, frozen=True):
    """One condition of a Job or a Pod."""

    type: str
    status: Nullable[str] = ""
    reason: Nullable[str] = ""
    message: Nullable[str] = ""
    last_transition_time: datetime | None = None


class NamedContainer(_CamelCase, frozen=True):
    """A container of a Job's template: its name alone."""

    name: Nullable[str] = ""


class PodSpecification(_CamelCase, frozen=True):
    """The containers that the Job asks for. A pod may have more: admission webhooks inject them."""

    init_containers: Nullable[tuple[NamedContainer, ...]] = ()
    containers: Nullable[tuple[NamedContainer, ...]] = ()


class PodTemplate(_CamelCase, frozen=True):
    """A Job's template for its pod."""

    spec: Nullable[PodSpecification] = PodSpecification()


class JobSpecification(_CamelCase, frozen=True):
    """A Job's spec."""

    suspend: Nullable[bool] = False
    managed_by: Nullable[str] = ""
    template: Nullable[PodTemplate] = PodTemplate()


class JobStatus(_CamelCase, frozen=True):
    """A Job's status."""

    conditions: Nullable[tuple[Condition, ...]] = ()
    active: Nullable[int] = 0
    ready: Nullable[int] = 0
    succeeded: Nullable[int] = 0
    failed: Nullable[int] = 0


class JobObject(_CamelCase, frozen=True):
    """A Job."""

    metadata: Metadata
    spec: Nullable[JobSpecification] = JobSpecification()
    status: Nullable[JobStatus] = JobStatus()

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled, before or after it was submitted."""
        return CANCELLED in self.metadata.annotations

    @property
    def tombstone(self) -> bool:
        """Whether it is a tombstone: the job was cancelled before it was submitted."""
        return FINGERPRINT not in self.metadata.annotations

    @property
    def claim(self) -> str:
        """What became of its claim to the name; empty if it was made without one."""
        return self.metadata.annotations.get(CLAIM, "")

    @property
    def yielded(self) -> bool:
        """Whether it yielded to a job in another place, and was not cancelled since."""
        return self.claim == YIELDED and not self.cancelled

    @property
    def resent(self) -> int:
        """See Observation.resent."""
        times = self.metadata.annotations.get(RESENT, "")
        return int(times) if times.isdecimal() else 0

    @property
    def started(self) -> bool:
        """Whether a pod has started, so its Secret exists."""
        return bool(self.status.ready or self.status.succeeded or self.status.failed or self.ended)

    @property
    def init(self) -> str:
        """The name of the job's own init container; empty if it has none."""
        if own := self._own:
            return own[0] if len(own) > 1 else ""
        return next((each.name for each in self.spec.template.spec.init_containers), "")

    @property
    def main(self) -> str:
        """The name of the job's own main container."""
        return next((each.name for each in self.spec.template.spec.containers), "") if not self._own else self._own[-1]

    @property
    def _own(self) -> list[str]:
        """The names of its own containers. Earlier releases did not write them: then the first ones are its own."""
        return self.metadata.annotations.get(CONTAINERS, "").split()

    @property
    def completed(self) -> Condition | None:
        """The condition that says that the Job has succeeded, or is about to."""
        conditions = self.status.conditions
        return true_condition(conditions, "Complete") or true_condition(conditions, "SuccessCriteriaMet")

    @property
    def ended(self) -> Condition | None:
        """The condition that ended the Job; None if it has not ended.

        `FailureTarget` ends it as `Failed` does. `Failed` follows once all pods are gone, on a silent node never.

        Release 0.1 cancelled a suspended Job without resuming it. Such a Job has no deadline that could end it, and
        creates no pod even if a queue resumes it. So it counts as ended.
        """
        if not (conditions := self.status.conditions):
            return None
        failed = true_condition(conditions, "Failed") or true_condition(conditions, "FailureTarget")
        suspended = self.cancelled and self.spec.suspend and not self.status.active
        return self.completed or failed or (true_condition(conditions, "Suspended") if suspended else None)

    @property
    def ended_as(self) -> Outcome | None:
        """The outcome that was stored when we ended the Job, or when a cancel found that it had ended."""
        try:
            return msgspec.json.decode(self.metadata.annotations[ENDED], type=Outcome)
        except (KeyError, msgspec.MsgspecError):  # none, or the annotation was edited
            return None


class Terminated(_CamelCase, frozen=True):
    """The state of a container that has exited."""

    exit_code: Nullable[int] = 0
    signal: Nullable[int] = 0
    reason: Nullable[str] = ""
    message: Nullable[str] = ""
    finished_at: datetime | None = None


class Waiting(_CamelCase, frozen=True):
    """The state of a container that has not started."""

    reason: Nullable[str] = ""
    message: Nullable[str] = ""


class ContainerState(msgspec.Struct, frozen=True):
    """A container's state: exactly one field is set, the others are absent or null."""

    waiting: Waiting | None = None
    running: dict[str, Any] | None = None
    terminated: Terminated | None = None


class ContainerStatus(_CamelCase, frozen=True):
    """The status of one container of a Pod."""

    name: str
    ready: Nullable[bool] = False  # of init containers: one that goes on beside the next ones has started
    state: Nullable[ContainerState] = ContainerState()
    last_state: Nullable[ContainerState] = ContainerState()  # before it was restarted, which a policy may allow

    @property
    def started(self) -> bool:
        """Whether its program runs or has run."""
        return bool(self.state.running is not None or self.state.terminated or self.last_state.terminated)


class PodStatus(_CamelCase, frozen=True):
    """A Pod's status."""

    phase: Nullable[str] = ""
    reason: Nullable[str] = ""
    message: Nullable[str] = ""
    conditions: Nullable[tuple[Condition, ...]] = ()
    init_container_statuses: Nullable[tuple[ContainerStatus, ...]] = ()
    container_statuses: Nullable[tuple[ContainerStatus, ...]] = ()


class PodObject(_CamelCase, frozen=True):
    """A Pod."""

    metadata: Metadata
    status: Nullable[PodStatus] = PodStatus()
    stopped: dict[str, bool] = {}
    """By container: its pod was deleted before its end was shown (versions.later). Never from the API server."""

    @property
    def job(self) -> str:
        """The name of its Job."""
        return (self.metadata.labels or {}).get(JOB_NAME, "")

    def belongs_to(self, job: JobObject) -> bool:
        """Whether that Job made it, and not an earlier Job of the same name."""
        uid = (self.metadata.labels or {}).get(JOB_UID, job.metadata.uid)
        return self.job == job.metadata.name and uid == job.metadata.uid

    @property
    def deleted_at(self) -> datetime | None:
        """When somebody or something deleted it; its containers are stopped from then on.

        A time after that if the deletion was hastened: see `hastened`.
        """
        if (end := self.metadata.deletion_timestamp) is None:
            return None
        return end - timedelta(seconds=self.metadata.deletion_grace_period_seconds)

    @property
    def hastened(self) -> bool:
        """Whether its deletion's time may have been replaced by that of its removal.

        Once all containers have ended, the kubelet deletes the pod again with a grace period of 0. The API server then
        moves the time into the present, and makes the period 0 or 1 (apiserver, registry/rest/delete.go).
        """
        return self.metadata.deletion_timestamp is not None and self.metadata.deletion_grace_period_seconds <= 1

    @property
    def over(self) -> bool:
        """Whether nothing runs in it any more, or ever will."""
        stops = self.metadata.deletion_timestamp is not None
        runs = any(each.state.running is not None for each in self.statuses)
        return self.status.phase in ("Succeeded", "Failed") or (stops and not runs)

    @property
    def statuses(self) -> tuple[ContainerStatus, ...]:
        """The statuses of all its containers, injected ones included."""
        return (*self.status.init_container_statuses, *self.status.container_statuses)

    def container(self, name: str) -> ContainerStatus | None:
        """The status of the container of that name."""
        return next((each for each in self.statuses if each.name == name), None)


class PageMetadata(NullIsAbsent, frozen=True, rename="camel"):
    """A list's metadata. `next_page` is the token for the next page, empty on the last.

    `resource_version` is the version from which a watch goes on.

    The items of a list may be null, but not absent: an answer without them is no list.
    """

    next_page: Nullable[str] = msgspec.field(name="continue", default="")
    resource_version: Nullable[str] = ""


def true_condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of that type, if its status is True."""
    for each in conditions:  # a generator takes three times as long, and every change of a job asks for several
        if each.type == kind and each.status == "True":
            return each
    return None
