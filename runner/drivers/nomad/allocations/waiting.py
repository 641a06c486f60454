"""Why a Nomad job waits, and whether it has waited or run for too long. Pure.

Nomad has no such limits. A job's stub shows neither which of its tasks runs, nor what keeps one from starting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.drivers.nomad.allocations.task_ends import Run, own_tasks, run_in
from runner.drivers.nomad.objects import Allocation, Evaluation, JobStub
from runner.drivers.nomad.variable import Ended

_QUOTA = "the quota of the namespace is exhausted"


def overdue(job: JobStub, now: float) -> Ended | None:
    """Why the driver must end the job now, as far as its stub says; None if it must not. Nomad has no such limits."""
    allowed = job.deadlines
    if allowed is None or job.ended:
        return None
    age = now - job.created
    if age > allowed.queue and not _was_lost(job):
        return Ended(unschedulable="no node has taken the job")
    return timed_out(job, now)


def timed_out(job: JobStub, now: float) -> Ended | None:
    """As `overdue`, for a job that has begun."""
    allowed = job.deadlines
    return Ended(timed_out=True) if allowed and now - job.created > allowed.total else None


def overstayed(job: JobStub, allocations: Sequence[Allocation]) -> Ended:
    """Why a job that nodes took, but that has not begun for too long, must be ended."""
    allowed = job.deadlines
    why = delay(run_in(allocations[-1], job.meta or {}))
    said = f"no container of it started within {allowed.queue if allowed else 0} s"
    return Ended(unschedulable=f"{said}: {why}" if why else said)


def begun(job: JobStub, allocations: Sequence[Allocation]) -> bool:
    """Whether one of the job's own tasks has started, or a node that took the job was lost.

    An allocation is `pending` again between the end of one task and the start of the next one.
    """
    meta = job.meta or {}
    return any(each.ended or each.client_status == "unknown" or own_started(each, meta) for each in allocations)


def own_started(allocation: Allocation, meta: Mapping[str, str]) -> bool:
    """Whether one of the job's own tasks has started in it."""
    states = allocation.task_states or {}
    if allocation.client_status == "running" and not states:
        return True
    return any(states[name].started for name in own_tasks(meta, states) if name in states)


def shortage(evaluations: Sequence[Evaluation]) -> str:
    """Why the scheduler found no node, as a sentence; empty if the evaluations give no reason."""
    metrics = [metric for each in evaluations for metric in (each.failed_tg_allocs or {}).values() if metric]
    if not metrics:
        failed = [each.status_description for each in evaluations if each.status == "failed"]
        return f"the scheduler failed: {failed[-1]}" if failed else ""
    last = metrics[-1]
    facts = [
        f"{last.nodes_evaluated} nodes evaluated",
        *([f"none in node pool {last.node_pool}"] if last.nodes_in_pool == 0 else []),
        *(f"none in datacenter {name}" for name, count in (last.nodes_available or {}).items() if not count),
        *(f"class {name} filtered {count}" for name, count in (last.class_filtered or {}).items()),
        *(f"constraint {name} filtered {count}" for name, count in (last.constraint_filtered or {}).items()),
        *(f"class {name} exhausted on {count}" for name, count in (last.class_exhausted or {}).items()),
        *(f"{name} exhausted on {count}" for name, count in (last.dimension_exhausted or {}).items()),
        *(f"quota: {name}" for name in last.quota_exhausted or ()),
    ]
    return f"{_QUOTA if last.quota_exhausted else 'no node takes it'}: " + ", ".join(facts)


def refusal(reason: str) -> dict[str, Any]:
    """Why the job gets no allocation, as fields of an Observation: a quota refuses it, or no node has the capacity."""
    by_quota = reason.startswith(_QUOTA)
    return {"not_admitted": reason if by_quota else "", "unschedulable": "" if by_quota else reason}


def _was_lost(job: JobStub) -> bool:
    """Whether a node that took it was lost. After that, it waits within its total deadline."""
    counts = job.job_summary.summary.values() if job.job_summary else ()
    return any(each.lost or each.unknown for each in counts)


def delay(run: Run) -> str:
    """What its node does before it can start a task of the job."""
    if run.running_other:
        return f"the task {run.running_other}, which is not the job's, runs"
    pending = [
        (name, state.events[-1]) for name, state in run.tasks.items() if state.state == "pending" and state.events
    ]
    return next((f"{name}: {event.display_message or event.type}" for name, event in pending), "")
