"""Translates a Nomad job, its Variable and its allocations into an Observation, which all drivers share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from runner.drivers.nomad.objects import Allocation, Evaluation, Event, JobStub, TaskState
from runner.drivers.nomad.specification import MAIN
from runner.drivers.nomad.variable import POOL, REPORT, Ended, JobVariable, decode
from runner.jobs import Report
from runner.observation import Observation, Phase


class Evidence(msgspec.Struct, frozen=True):
    """Everything that the observation of one job is made from. `log_tail` is from the container that failed."""

    job: JobStub
    variable: JobVariable | None
    allocations: list[Allocation] = []
    log_tail: str = ""

    @property
    def last(self) -> Allocation | None:
        """The latest allocation."""
        return self.allocations[-1] if self.allocations else None


def observation(evidence: Evidence, driver: str) -> Observation:
    """The observation of one job."""
    job, variable, meta = evidence.job, evidence.variable or JobVariable(), evidence.job.meta or {}
    phase = _phase(evidence)
    verdict = variable.ended or Ended()
    main = meta.get(MAIN, "")
    exits = {name: _exit(state) for name, state in _tasks(evidence).items()}
    return Observation(
        name=job.id,
        driver=driver,
        pool=meta.get(POOL, ""),
        phase=phase,
        created=job.created,
        ended=_ended_at(evidence) if phase in ("succeeded", "failed", "gone") else None,
        report=decode(meta.get(REPORT), Report),
        fingerprint=job.fingerprint,
        cancelled=variable.cancelled is not None,
        cancellation=variable.cancelled,
        reported=bool(variable.reported),
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


def without_job(name: str, variable: JobVariable, driver: str) -> Observation:
    """The observation of a Variable without a job: a tombstone, or a job that was removed."""
    ended_by_driver = bool(variable.cancelled or variable.ended)
    return Observation(
        name=name,
        driver=driver,
        pool=variable.pool,
        phase="failed" if ended_by_driver else "gone",
        created=variable.modified,
        ended=variable.modified,
        report=variable.report,
        fingerprint=variable.fingerprint,
        cancelled=variable.cancelled is not None,
        cancellation=variable.cancelled,
        reported=bool(variable.reported),
        timed_out=bool(variable.ended and variable.ended.timed_out),
        unschedulable=variable.ended.unschedulable if variable.ended else "",
    )


def overdue(job: JobStub, now: float) -> Ended | None:
    """Why the driver must end the job now; None if it must not. Nomad itself limits no batch job's duration."""
    allowed = job.deadlines
    if allowed is None or job.ended:
        return None
    age = now - job.created
    if age > allowed.total:
        return Ended(timed_out=True)
    if age > allowed.queue and _waits_in_queue(job):
        return Ended(unschedulable="no node has taken the job")
    return None


def shortage(evaluations: Iterable[Evaluation]) -> str:
    """Why the scheduler found no node, as a sentence; empty if the evaluations give no reason."""
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
    return "no node had enough capacity: " + ", ".join(facts)


def failed_task(evidence: Evidence) -> str:
    """The last task that exited with an error, whose log has the reason; empty if there is none."""
    ran = [name for name, state in _tasks(evidence).items() if _exit(state) not in (None, 0)]
    return ran[-1] if ran else ""


def log_task(meta: Mapping[str, str], allocation: Allocation) -> str:
    """The task whose log to read: the main one if it has started, else the first that has."""
    main = meta.get(MAIN, "")
    started = [name for name, state in (allocation.task_states or {}).items() if state.last("Started")]
    return main if main in started or not started else started[0]


def _phase(evidence: Evidence) -> Phase:
    job, variable, last = evidence.job, evidence.variable, evidence.last
    if not job.ended or (last and not last.ended and last.client_status != "unknown"):
        return "running" if job.running or (last and last.client_status == "running") else "waiting"
    if variable and (variable.cancelled or variable.ended):
        return "failed"
    if last and last.client_status == "complete" and not _interrupted(evidence):
        return "succeeded"
    return "gone" if job.stop else "failed"


def _interrupted(evidence: Evidence) -> bool:
    """Whether the main program did not exit with 0. Nomad also calls an allocation complete that it has stopped."""
    main = evidence.last.task((evidence.job.meta or {}).get(MAIN, "")) if evidence.last else None
    return main is None or _exit(main) != 0


def _waits_in_queue(job: JobStub) -> bool:
    """Whether no node has accepted the job yet. After the loss of its node, a job waits within its total deadline."""
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
    """Whether its node was lost or drained, or a job of higher priority preempted it."""
    return last is not None and (
        last.client_status == "lost" or bool(last.desired_transition.migrate) or bool(last.preempted_by_allocation)
    )


def _failure(evidence: Evidence, *, of_image: bool) -> str:
    """Why a task could not be started: its image (with `of_image`), or any other reason (without)."""
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
    texts = [last.client_description, last.desired_description] if last and last.client_status != "complete" else []
    texts += [evidence.job.status_description]
    for name, state in _tasks(evidence).items():
        if state.failed:
            texts += [f"{name}: {event.display_message}" for event in (state.events or [])[-3:]]
    return "\n".join(dict.fromkeys(text for text in texts if text))


def _ended_at(evidence: Evidence) -> float:
    times = [event.time for state in _tasks(evidence).values() for event in state.events or []]
    last = evidence.last.modify_time if evidence.last else 0
    closed = evidence.variable.modified if evidence.variable and not evidence.variable.open else 0.0
    return max([*times, 0]) / 1e9 or last / 1e9 or closed or evidence.job.created
