"""The objects of Nomad's API that the driver reads, as structs with only the fields that the driver uses.

Fields and events: Nomad's documentation, "Jobs API" and "Allocations API"; nomad/structs/structs.go for the events'
types.
"""

from __future__ import annotations

import msgspec

from runner.drivers.nomad.specification import deadlines
from runner.drivers.nomad.variable import FINGERPRINT, NONCE
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.jobs import Deadlines


class _PascalCase(NullIsAbsent, frozen=True, rename="pascal"):
    """Base of the structs: fields have Nomad's names, in Pascal case."""


class Counts(_PascalCase, frozen=True):
    """How many allocations of a group are in each state."""

    running: Nullable[int] = 0
    lost: Nullable[int] = 0
    unknown: Nullable[int] = 0


class Summary(_PascalCase, frozen=True):
    """The counts of a job, by task group."""

    summary: Nullable[dict[str, Counts]] = {}


class JobStub(_PascalCase, frozen=True):
    """A job, as Nomad lists it."""

    id: str = msgspec.field(name="ID")
    meta: dict[str, str] | None = None
    status: Nullable[str] = ""
    status_description: Nullable[str] = ""
    stop: Nullable[bool] = False
    submit_time: Nullable[int] = 0
    create_index: Nullable[int] = 0
    modify_index: Nullable[int] = 0
    job_summary: Summary | None = None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its request; empty if the job is not the Orchestrator's."""
        return (self.meta or {}).get(FINGERPRINT, "")

    @property
    def nonce(self) -> str:
        """The nonce of the submit that registered it."""
        return (self.meta or {}).get(NONCE, "")

    @property
    def fresh(self) -> bool:
        """Whether nothing has happened to it since it was registered, so it has no allocation."""
        return self.modify_index == self.create_index and self.status == "pending" and not self.stop

    @property
    def ended(self) -> bool:
        """Whether Nomad will start no task of it again. After a stop, tasks may still be ending."""
        return self.status == "dead"

    @property
    def created(self) -> float:
        """Seconds since the epoch, by the cluster's clock."""
        return self.submit_time / 1e9

    @property
    def running(self) -> bool:
        """Whether an allocation of it is running."""
        counts = self.job_summary.summary.values() if self.job_summary else ()
        return any(each.running for each in counts)

    @property
    def deadlines(self) -> Deadlines | None:
        """Its deadlines, from its Meta; None if the job is not the Orchestrator's."""
        return deadlines(self.meta or {})


class TaskEvent(_PascalCase, frozen=True):
    """An event of a task. `time` is in nanoseconds since the epoch."""

    type: Nullable[str] = ""
    display_message: Nullable[str] = ""
    details: dict[str, str] | None = None
    time: Nullable[int] = 0

    @property
    def fatal(self) -> bool:
        """Whether the event made the task fail."""
        return (self.details or {}).get("fails_task") == "true"


class TaskState(_PascalCase, frozen=True):
    """The state of a task in an allocation."""

    state: Nullable[str] = ""
    failed: Nullable[bool] = False
    events: list[TaskEvent] | None = None

    @property
    def since_start(self) -> list[TaskEvent]:
        """The events from its latest start on; all of them if it has not started."""
        events = self.events or []
        starts = [number for number, event in enumerate(events) if event.type == "Started"]
        return events[starts[-1] :] if starts else events

    @property
    def started(self) -> bool:
        """Whether it runs or has run. Nomad keeps the last ten events of a task, so its start may be forgotten."""
        return self.state == "running" or any(each.type in ("Started", "Terminated") for each in self.events or [])

    def last(self, kind: str) -> TaskEvent | None:
        """The latest event of that type."""
        return next((event for event in reversed(self.events or []) if event.type == kind), None)


class Transition(_PascalCase, frozen=True):
    """What the scheduler plans to do with an allocation."""

    migrate: bool | None = None


class Allocation(_PascalCase, frozen=True):
    """One execution of a job on one node."""

    id: str = msgspec.field(name="ID")
    job_id: Nullable[str] = msgspec.field(name="JobID", default="")
    client_status: Nullable[str] = ""
    client_description: Nullable[str] = ""
    desired_status: Nullable[str] = ""
    desired_description: Nullable[str] = ""
    task_states: dict[str, Nullable[TaskState]] | None = None
    desired_transition: Nullable[Transition] = Transition()
    preempted_by_allocation: Nullable[str] = ""
    create_index: Nullable[int] = 0
    modify_index: Nullable[int] = 0
    modify_time: Nullable[int] = 0

    def __post_init__(self) -> None:
        """See NullIsAbsent. A task without a state is left out."""
        super().__post_init__()
        if self.task_states and None in self.task_states.values():
            known = {name: state for name, state in self.task_states.items() if state is not None}
            msgspec.structs.force_setattr(self, "task_states", known)

    @property
    def ended(self) -> bool:
        """Whether all its tasks have ended."""
        return self.client_status in ("complete", "failed", "lost")

    @property
    def ends(self) -> tuple[str, ...]:
        """What may have ended the run, or delays it: the allocation's end, and tasks that ended, failed or wait."""
        states = (self.task_states or {}).items()
        tasks = [name for name, each in states if each.failed or each.last("Terminated") or each.last("Template")]
        return (*(["allocation"] if self.client_status not in ("", "pending", "running") else []), *sorted(tasks))


class Metric(_PascalCase, frozen=True):
    """Why the scheduler placed an allocation on no node."""

    nodes_evaluated: Nullable[int] = 0
    node_pool: Nullable[str] = ""
    nodes_in_pool: int | None = None
    nodes_available: dict[str, int] | None = None
    """By datacenter."""
    class_filtered: dict[str, int] | None = None
    constraint_filtered: dict[str, int] | None = None
    class_exhausted: dict[str, int] | None = None
    dimension_exhausted: dict[str, int] | None = None
    quota_exhausted: list[str] | None = None


class Evaluation(_PascalCase, frozen=True):
    """A decision of the scheduler."""

    status: Nullable[str] = ""
    status_description: Nullable[str] = ""
    create_index: Nullable[int] = 0
    job_id: Nullable[str] = msgspec.field(name="JobID", default="")
    failed_tg_allocs: dict[str, Metric | None] | None = msgspec.field(name="FailedTGAllocs", default=None)


class EventPayload(_PascalCase, frozen=True):
    """The object that an event of the stream is about, as it is after the event."""

    job: JobStub | None = None
    allocation: Allocation | None = None
    evaluation: Evaluation | None = None


class StreamEvent(_PascalCase, frozen=True):
    """One event of Nomad's event stream."""

    type: Nullable[str] = ""
    payload: Nullable[EventPayload] = EventPayload()


class StreamLine(_PascalCase, frozen=True):
    """A line of the event stream: the events of one write. A line without events proves that the stream is alive."""

    events: list[StreamEvent] | None = None
