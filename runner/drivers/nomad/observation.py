"""Translates a Nomad job, its Variable and its allocations into an Observation, which all drivers share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runner.drivers.claims import ASSUMED
from runner.drivers.nomad.allocations.task_ends import Run, run_in
from runner.drivers.nomad.allocations.waiting import delay, own_started, refusal
from runner.drivers.nomad.objects import Allocation, JobStub
from runner.drivers.nomad.specification import MAIN
from runner.drivers.nomad.variable import POOL, REPORT, Ended, JobVariable, decode, published
from runner.jobs import Report
from runner.observation import Observation, Phase

_NOT_TAKEN = "Unable to add allocation"
"""The beginning of the description of an allocation that its client could not take (client/client.go)."""

_ROUTINE = frozenset({"Received", "Task Setup", "Driver", "Started", "Not Restarting"})
"""Types of events that say nothing about an end: each task has them. A driver reports a pull (structs.go, Task*)."""

_TASKS_FAILED = "Failed tasks"
"""The description of every allocation with a failed task."""


class Evidence(msgspec.Struct, frozen=True):
    """Everything that the observation of one job is made from."""

    job: JobStub
    variable: JobVariable | None
    allocations: list[Allocation] = []
    kill_failed: bool = False
    """The job was stopped so long ago that its node cannot kill what still runs."""

    @property
    def last(self) -> Allocation | None:
        """The latest allocation."""
        return self.allocations[-1] if self.allocations else None

    @property
    def run(self) -> Run:
        """The run in the first allocation in which it ended by itself, else in the latest one."""
        runs = [run_in(each, self.job.meta or {}) for each in self.allocations]
        return next((run for run in runs if run.over), runs[-1] if runs else Run())


def observation(evidence: Evidence, driver: str, place: str = "") -> Observation:
    """The observation of one job."""
    job, variable, meta, run = evidence.job, evidence.variable or JobVariable(), evidence.job.meta or {}, evidence.run
    phase = _phase(evidence, run)
    # A limit that was passed after the end explains nothing.
    verdict = (variable.ended if not run.over else None) or Ended()
    container, end = run.explains
    return Observation(
        name=job.id,
        driver=driver,
        pool=meta.get(POOL, ""),
        phase=phase,
        created=job.created,
        place=place,
        identity=job.nonce or variable.nonce,  # they differ where a repeat took over a Variable while its job arrived
        ended=_ended_at(evidence, run) if phase in ("succeeded", "failed", "gone") else None,
        report=decode(meta.get(REPORT), Report),
        fingerprint=job.fingerprint,
        **_reports(variable),
        lingers=run.over and not job.stop and (bool(run.running_other) or _is_run_again(evidence)),
        timed_out=verdict.timed_out,
        out_of_memory=end.out_of_memory,
        disrupted=not run.over and (_disrupted(job, evidence.last) or any(each.lost for each in run.ends)),
        disk_exhausted=end.disk_exhausted,
        container=container,
        signal=end.signal,
        image_error=end.image_error,
        registry_error=end.registry_error,
        **refusal(verdict.unschedulable),
        scheduled=evidence.last is not None and not (evidence.last.ended and phase == "waiting"),
        begun=run.unhindered,
        delay=delay(run) if phase == "waiting" else "",
        configuration_error=end.configuration_error,
        init_exit=run.init.exit,
        main_exit=run.main.exit,
        message=_message(evidence, run),
    )


_NEVER_SEEN = "Nomad has no such job: its request was never completed, or the job was removed before it was seen"


def without_job(
    name: str, variable: JobVariable, driver: str, place: str = "", *, never_seen: bool = False
) -> Observation:
    """The observation of a Variable without a job: a tombstone, or a job that was removed or never registered.

    Its identity is empty if release 0.1 closed the Variable, which dropped the nonce. If its job was never seen, its
    end is stored before it is reported: a repeat may be about to make the job, here or in another place.
    """
    return Observation(
        name=name,
        driver=driver,
        pool=variable.pool,
        phase=_phase_without_job(variable),
        created=variable.modified,
        place=place,
        identity=variable.nonce,
        ended=variable.modified,
        report=variable.report,
        fingerprint=variable.fingerprint,
        **{**_reports(variable), "unsettled": variable.claim == ASSUMED or (variable.awaits_submit and never_seen)},
        timed_out=bool(variable.ended and variable.ended.timed_out),
        message=_NEVER_SEEN if variable.awaits_submit and never_seen else "",
        **refusal(variable.ended.unschedulable if variable.ended else ""),
    )


def being_submitted(name: str, variable: JobVariable, driver: str, place: str) -> Observation:
    """The observation of a Variable whose job has not been registered yet."""
    seen = without_job(name, variable, driver, place)
    return msgspec.structs.replace(seen, phase="waiting", ended=None, incomplete=True)


def _reports(variable: JobVariable) -> dict[str, Any]:
    """What the Variable says about cancellation and reports, as fields of an Observation."""
    return {
        "cancelled": variable.cancelled is not None,
        "cancellation": variable.cancelled,
        "reported": bool(variable.reported),
        "set_aside": variable.set_aside,
        "answer": variable.answer,
        "published": published(variable),
        "resent": variable.resent,
        "ended_as": variable.ended.outcome if variable.ended else None,
        "unsettled": variable.claim == ASSUMED,
    }


def _phase_without_job(variable: JobVariable) -> Phase:
    if variable.ended and variable.ended.outcome and variable.ended.outcome.reason == "succeeded":
        return "succeeded"
    return "failed" if variable.cancelled or variable.ended else "gone"


def log_task(meta: Mapping[str, str], allocation: Allocation) -> str:
    """The task whose log to read: the main one if it has started, else the first that has."""
    main = meta.get(MAIN, "")
    started = [name for name, state in (allocation.task_states or {}).items() if state.last("Started")]
    return main if main in started or not started else started[0]


def _is_run_again(evidence: Evidence) -> bool:
    """Whether another allocation replaces the one in which the run ended: its node was lost, and has come back."""
    return any(not each.ended for each in evidence.allocations if each is not evidence.run.allocation)


def _phase(evidence: Evidence, run: Run) -> Phase:
    job, variable, last = evidence.job, evidence.variable, evidence.last
    if run.over:
        return "succeeded" if run.main.exit == 0 else "failed"
    is_ending = last and not last.ended and last.client_status != "unknown" and not evidence.kill_failed
    if not job.ended or is_ending:
        hindered = run.explains[1].failed
        between = last and last.client_status == "pending" and own_started(last, job.meta or {}) and not hindered
        return "running" if job.running or between or (last and last.client_status == "running") else "waiting"
    if variable and (variable.cancelled or variable.ended):
        return "failed"
    if last and last.client_status == "complete" and run.main.exit == 0:
        return "succeeded"
    return "gone" if job.stop else "failed"


def _disrupted(job: JobStub, last: Allocation | None) -> bool:
    """Whether its node was lost or could not take it, or Nomad stopped it for reasons of its own, not with its job."""
    return last is not None and (
        last.client_status in ("lost", "unknown")
        or (last.desired_status in ("stop", "evict") and not job.stop)
        or (last.client_status == "failed" and last.client_description.startswith(_NOT_TAKEN))
        or bool(last.desired_transition.migrate)
        or bool(last.preempted_by_allocation)
    )


def _message(evidence: Evidence, run: Run) -> str:
    last = evidence.last
    by_itself = last is not None and last.client_status == "complete" and run.over
    texts = [last.client_description, last.desired_description] if last and not by_itself else []
    texts += [evidence.job.status_description]
    for name, state in run.tasks.items():
        if state.failed:
            events = [event for event in state.events or [] if event.type not in _ROUTINE]
            texts += [f"{name}: {event.display_message}" for event in events[-3:]]
    return "\n".join(dict.fromkeys(text for text in texts if text and text != _TASKS_FAILED))


def _ended_at(evidence: Evidence, run: Run) -> float:
    times = [event.time for state in run.tasks.values() for event in state.events or []]
    last = evidence.last.modify_time if evidence.last else 0
    closed = evidence.variable.modified if evidence.variable and not evidence.variable.open else 0.0
    return max([*times, 0]) / 1e9 or last / 1e9 or closed or evidence.job.created
