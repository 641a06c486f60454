"""What Nomad shows of a job, in the words that all drivers share. Pure: objects in, an Observation out.

The structs name only the fields that are looked at. Fields and events: Nomad's documentation, "Jobs API",
"Allocations API"; nomad/structs/structs.go for the events' types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad import specification as nomad_specification
from runner.drivers.nomad.record import Ended, Record
from runner.jobs import Deadlines, Report
from runner.observation import Observation, Phase


class _Object(msgspec.Struct, frozen=True, rename="pascal"):
    """Base: Nomad's names, and nothing but what is asked for."""


class Counts(_Object, frozen=True):
    """How many allocations of a group are in each state."""

    running: int = 0
    starting: int = 0
    lost: int = 0
    unknown: int = 0


class Summary(_Object, frozen=True):
    """Counts by group."""

    summary: dict[str, Counts] = {}


class JobStub(_Object, frozen=True):
    """A job, as it is listed."""

    id: str = msgspec.field(name="ID")
    meta: dict[str, str] | None = None
    status: str = ""
    status_description: str = ""
    stop: bool = False
    submit_time: int = 0
    modify_index: int = 0
    job_summary: Summary | None = None

    @property
    def fingerprint(self) -> str:
        """Of the request that it was made from; empty where it is none of ours."""
        return (self.meta or {}).get(nomad_record.FINGERPRINT, "")

    @property
    def nonce(self) -> str:
        """Of the attempt that registered it."""
        return (self.meta or {}).get(nomad_record.NONCE, "")

    @property
    def ended(self) -> bool:
        """Whether nothing of it will be started any more. What was stopped may still be ending."""
        return self.status == "dead"

    @property
    def created(self) -> float:
        """Seconds since the epoch, by the cluster's clock."""
        return self.submit_time / 1e9

    @property
    def begun(self) -> bool:
        """Whether an allocation of it runs."""
        counts = self.job_summary.summary.values() if self.job_summary else ()
        return any(each.running for each in counts)

    @property
    def deadlines(self) -> Deadlines | None:
        """What it may take."""
        return nomad_specification.deadlines(self.meta or {})


class Event(_Object, frozen=True):
    """Something that happened to a task."""

    type: str = ""
    display_message: str = ""
    details: dict[str, str] | None = None
    time: int = 0

    @property
    def fatal(self) -> bool:
        """Whether the task failed by it."""
        return (self.details or {}).get("fails_task") == "true"


class TaskState(_Object, frozen=True):
    """How a task stands."""

    state: str = ""
    failed: bool = False
    events: list[Event] | None = None

    def last(self, kind: str) -> Event | None:
        """The latest event of that type."""
        return next((event for event in reversed(self.events or []) if event.type == kind), None)


class Transition(_Object, frozen=True):
    """What is to become of an allocation."""

    migrate: bool | None = None


class Allocation(_Object, frozen=True):
    """One try at a job on one node."""

    id: str = msgspec.field(name="ID")
    client_status: str = ""
    client_description: str = ""
    desired_status: str = ""
    desired_description: str = ""
    task_states: dict[str, TaskState] | None = None
    desired_transition: Transition = Transition()
    preempted_by_allocation: str = ""
    create_index: int = 0
    modify_time: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs."""
        return self.client_status in ("complete", "failed", "lost")

    def task(self, name: str) -> TaskState | None:
        """The task's state, where it has one."""
        return (self.task_states or {}).get(name)


class Metric(_Object, frozen=True):
    """Why no node took an allocation."""

    nodes_evaluated: int = 0
    nodes_filtered: int = 0
    constraint_filtered: dict[str, int] | None = None
    dimension_exhausted: dict[str, int] | None = None
    quota_exhausted: list[str] | None = None


class Evaluation(_Object, frozen=True):
    """A decision of the scheduler's."""

    status: str = ""
    status_description: str = ""
    create_index: int = 0
    failed_tg_allocs: dict[str, Metric] | None = msgspec.field(name="FailedTGAllocs", default=None)


class Evidence(msgspec.Struct, frozen=True):
    """Everything that is looked at for one job. `log_tail` is of the container that failed."""

    job: JobStub
    record: Record | None
    allocations: list[Allocation] = []
    log_tail: str = ""

    @property
    def last(self) -> Allocation | None:
        """The last try."""
        return self.allocations[-1] if self.allocations else None


def observation(evidence: Evidence, driver: str) -> Observation:
    """One look at one job."""
    job, record, meta = evidence.job, evidence.record or Record(), evidence.job.meta or {}
    phase = _phase(evidence)
    verdict = record.ended or Ended()
    main = meta.get(nomad_specification.MAIN, "")
    exits = {name: _exit(state) for name, state in _tasks(evidence).items()}
    return Observation(
        name=job.id,
        driver=driver,
        pool=meta.get(nomad_record.POOL, ""),
        phase=phase,
        created=job.created,
        ended=_ended_at(evidence) if phase in ("succeeded", "failed", "gone") else None,
        report=nomad_record.decode(meta.get(nomad_record.REPORT), Report),
        fingerprint=job.fingerprint,
        cancelled=record.cancelled is not None,
        cancellation=record.cancelled,
        reported=bool(record.reported),
        timed_out=verdict.timed_out,
        out_of_memory=any(_out_of_memory(state) for state in _tasks(evidence).values()),
        disrupted=_disrupted(evidence.last),
        image_error=_failure(evidence, of_image=True),
        unschedulable=verdict.unschedulable,
        configuration_error=_failure(evidence, of_image=False),
        init_exit=next((code for name, code in exits.items() if name != main), None),
        main_exit=exits.get(main),
        message=_message(evidence),
        log_tail=evidence.log_tail,
    )


def without_job(name: str, record: Record, driver: str) -> Observation:
    """A name that was cancelled before its job came; or a job that somebody has removed."""
    told = bool(record.cancelled or record.ended)
    return Observation(
        name=name,
        driver=driver,
        pool=record.pool,
        phase="failed" if told else "gone",
        created=record.modified,
        ended=record.modified,
        report=record.report,
        fingerprint=record.fingerprint,
        cancelled=record.cancelled is not None,
        cancellation=record.cancelled,
        reported=bool(record.reported),
        timed_out=bool(record.ended and record.ended.timed_out),
        unschedulable=record.ended.unschedulable if record.ended else "",
    )


def overdue(job: JobStub, now: float) -> Ended | None:
    """Whether it is time to end the job, and why. Nomad has no bound of its own for how long a job may take."""
    allowed = job.deadlines
    if allowed is None or job.ended:
        return None
    age = now - job.created
    if age > allowed.total:
        return Ended(timed_out=True)
    if age > allowed.queue and _queued(job):
        return Ended(unschedulable="no node has taken the job")
    return None


def shortage(evaluations: Iterable[Evaluation]) -> str:
    """Why the scheduler found no node, in a sentence; empty where it did not say."""
    metrics = [metric for each in evaluations for metric in (each.failed_tg_allocs or {}).values()]
    if not metrics:
        return ""
    last = metrics[-1]
    facts = [
        f"{last.nodes_evaluated} nodes evaluated",
        *(f"constraint {name} filtered {count}" for name, count in (last.constraint_filtered or {}).items()),
        *(f"{name} exhausted on {count}" for name, count in (last.dimension_exhausted or {}).items()),
        *(f"quota: {name}" for name in last.quota_exhausted or ()),
    ]
    return "no node had room: " + ", ".join(facts)


def failed_task(evidence: Evidence) -> str:
    """The task whose log tells why the job failed; empty where none has run."""
    ran = [name for name, state in _tasks(evidence).items() if _exit(state) not in (None, 0)]
    return ran[-1] if ran else ""


def talking_task(meta: Mapping[str, str], allocation: Allocation) -> str:
    """The task whose log says most: the main one's once it has begun."""
    main = meta.get(nomad_specification.MAIN, "")
    begun = [name for name, state in (allocation.task_states or {}).items() if state.last("Started")]
    return main if main in begun or not begun else begun[0]


def _phase(evidence: Evidence) -> Phase:
    job, record, last = evidence.job, evidence.record, evidence.last
    if not job.ended or (last and not last.ended and last.client_status != "unknown"):
        return "running" if job.begun or (last and last.client_status == "running") else "waiting"
    if record and (record.cancelled or record.ended):
        return "failed"
    if last and last.client_status == "complete" and not _interrupted(evidence):
        return "succeeded"
    return "gone" if job.stop else "failed"


def _interrupted(evidence: Evidence) -> bool:
    """Whether the main program did not come to an end by itself: Nomad calls what it has stopped complete."""
    main = evidence.last.task((evidence.job.meta or {}).get(nomad_specification.MAIN, "")) if evidence.last else None
    return main is None or _exit(main) != 0


def _queued(job: JobStub) -> bool:
    """Whether no node has taken it yet. One whose node was lost is placed again, and has only the whole time left."""
    counts = job.job_summary.summary.values() if job.job_summary else ()
    return not any(each.running or each.starting or each.lost or each.unknown for each in counts)


def _tasks(evidence: Evidence) -> dict[str, TaskState]:
    return (evidence.last.task_states or {}) if evidence.last else {}


def _exit(state: TaskState) -> int | None:
    ended = state.last("Terminated")
    if ended is None:
        return None
    code = (ended.details or {}).get("exit_code", "")
    return int(code) if code.lstrip("-").isdigit() else None


def _out_of_memory(state: TaskState) -> bool:
    ended = state.last("Terminated")
    return bool(ended and (ended.details or {}).get("oom_killed") == "true")


def _disrupted(last: Allocation | None) -> bool:
    """Whether its node was lost or drained, or it had to make room for a more important one."""
    return last is not None and (
        last.client_status == "lost" or bool(last.desired_transition.migrate) or bool(last.preempted_by_allocation)
    )


def _failure(evidence: Evidence, *, of_image: bool) -> str:
    """What kept a task from being started, where that was its image, or anything else."""
    for state in _tasks(evidence).values():
        for event in state.events or []:
            if event.fatal and event.type != "Not Restarting" and _of_image(event) == of_image:
                return event.display_message
            if event.type == "Driver Failure" and _of_image(event) == of_image:
                return event.display_message
    return ""


def _of_image(event: Event) -> bool:
    text = event.display_message.lower()
    return event.type == "Driver Failure" and any(word in text for word in ("image", "pull", "repository", "manifest"))


def _message(evidence: Evidence) -> str:
    last = evidence.last
    told = [last.client_description, last.desired_description] if last and last.client_status != "complete" else []
    told += [evidence.job.status_description]
    for name, state in _tasks(evidence).items():
        if state.failed:
            told += [f"{name}: {event.display_message}" for event in (state.events or [])[-3:]]
    return "\n".join(dict.fromkeys(text for text in told if text))


def _ended_at(evidence: Evidence) -> float:
    times = [event.time for state in _tasks(evidence).values() for event in state.events or []]
    last = evidence.last.modify_time if evidence.last else 0
    record = evidence.record.modified if evidence.record and not evidence.record.open else 0.0
    return max([*times, 0]) / 1e9 or last / 1e9 or record or evidence.job.created
