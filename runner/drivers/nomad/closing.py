"""The guarded writes that close a job's Variable: cancel, end, report. Each is one try, decided by one check-and-set.

Every function returns a tuple with its result, or None if another write came first; the driver then repeats it. A
Variable is only closed for the job that was observed: its nonce must be the observation's identity.
"""

from __future__ import annotations

import msgspec

from runner.drivers.claims import YIELDED
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import JobStub
from runner.drivers.nomad.observation import Evidence, observation, without_job
from runner.drivers.nomad.variable import (
    POOL,
    REPORT,
    JobVariable,
    closed_items,
    decode,
    with_cancellation,
    with_end,
    with_outcome,
    with_resend,
)
from runner.jobs import Cancellation, Report, State
from runner.observation import Observation, Outcome
from runner.outcomes import RULES, classify, explanation, kept, missed_end
from runner.runtime.clock import Deadline

_DRIVER = "nomad"


def cancel(
    namespace: Namespace, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool, nonce: str
) -> tuple[State | None] | None:
    """Cancel the name. If its run had ended before, that end is stored as well. `nonce` is for a tombstone."""
    name = cancellation.name
    variable = namespace.variable(name, deadline)
    job = namespace.job(name, deadline)
    if variable is None and job is not None:
        restored(namespace, job, deadline)
        return None
    index = variable.index if variable else 0
    if variable and variable.claim == YIELDED and not variable.cancelled:
        job = None  # it is being stopped, and is reported to nobody
    if job is None and variable and variable.free:
        variable = None  # the name is free, so a late submit could use it
    if job is None and not tombstone and (variable is None or variable.awaits_submit or not variable.fingerprint):
        return (None,)
    if variable is not None and variable.cancelled:
        _stop(namespace, job, deadline)
        return ("exists" if variable.ended else "cancelled",)
    ended = _end_before(namespace, variable, job, deadline)
    if variable is not None and job is not None:
        variable = _with_nonce_of(job, variable)
    closed = with_cancellation(variable, cancellation, ended, nonce)
    if not namespace.write(name, closed_items(closed), index, deadline):
        return None
    _stop(namespace, job or namespace.job(name, deadline), deadline)
    return ("exists" if ended else "cancelled",)


def end(
    namespace: Namespace, seen: Observation, outcome: Outcome, deadline: Deadline, index: int
) -> tuple[bool] | None:
    """Store the outcome and stop the job. The first outcome stays. False for a cancelled job, which stores none.

    A stored outcome of a cancelled job would mean that the job had ended before its cancel. `index` is the Variable's
    when the job was read: a repeat of its request may have admitted the claim since, and be registering the job.
    """
    variable = _variable_of(namespace, seen, deadline)
    if variable is None or (variable.claim == YIELDED and variable.cancelled is None):
        return (False,)
    if variable.index != index:
        return None
    decided = variable.ended or variable.cancelled or variable.reported
    items = closed_items(with_end(variable, outcome))
    if not decided and not namespace.write(seen.name, items, variable.index, deadline):
        return None
    _stop(namespace, namespace.job(seen.name, deadline), deadline)
    stored = variable.ended.outcome if variable.ended else None
    return (variable.cancelled is None and (stored is None or stored.reason == outcome.reason),)


def mark(
    namespace: Namespace, seen: Observation, outcome: Outcome, deadline: Deadline, refusal: str | None
) -> tuple[bool] | None:
    """Record the report, or that atlas has refused it for good, with that answer.

    False if this job is gone, or after the observation was cancelled or its result was asked for again.
    """
    variable = _variable_of(namespace, seen, deadline)
    if variable is None or (variable.cancelled is not None and not seen.cancelled):
        return (False,)
    if variable.resent != seen.resent:
        return (False,)
    if variable.reported:
        return (True,)
    marked = with_outcome(variable, outcome, refusal)
    missed = missed_end(seen, outcome)
    if missed and not variable.ended:
        marked = with_end(marked, missed)  # a resend must say the same
    items = closed_items(marked)
    return (True,) if namespace.write(seen.name, items, variable.index, deadline) else None


def resend(namespace: Namespace, seen: Observation, now: Observation | None, deadline: Deadline) -> tuple[bool] | None:
    """Take the mark away. `now` is the job as it was just read, with its evidence. False if it has no mark."""
    variable = _variable_of(namespace, seen, deadline)
    if variable is None or not variable.reported or (variable.claim == YIELDED and not variable.cancelled):
        return (False,)
    stored = kept(now, variable.reported) if now and now.identity == seen.identity else None
    items = closed_items(with_resend(variable, stored))
    return (True,) if namespace.write(seen.name, items, variable.index, deadline) else None


def restored(namespace: Namespace, job: JobStub, deadline: Deadline) -> JobVariable | None:
    """Write the Variable of a job whose Variable was deleted, from the job's Meta. Returns what is stored then.

    A caller that closes it writes it once more. Until then listings do not read it: they read only changed Variables.
    """
    meta = job.meta or {}
    report = decode(meta.get(REPORT), Report)
    variable = JobVariable(fingerprint=job.fingerprint, pool=meta.get(POOL, ""), report=report, nonce=job.nonce)
    namespace.write(job.id, closed_items(variable), 0, deadline)
    return namespace.variable(job.id, deadline)


def same_tombstone(variable: JobVariable | None, seen: Observation) -> bool:
    """Whether the Variable is a tombstone that the same cancellation has written in another namespace."""
    return variable is not None and not variable.fingerprint and variable.cancelled == seen.cancellation


def _variable_of(namespace: Namespace, seen: Observation, deadline: Deadline) -> JobVariable | None:
    """The Variable of the job that was observed; None if the name is free, or another job has it.

    A Variable without a nonce was closed by release 0.1, which dropped it. Then the fingerprint decides: a later submit
    would have written a nonce. Where the job itself has another nonce than its Variable, the job's counts: a repeat has
    taken over the Variable of a submit that seemed to be dead, and then that one's job was registered. The next write
    of the Variable stores it, since results have it in their ids, and the job itself may be removed.
    """
    variable = namespace.variable(seen.name, deadline)
    if variable is not None and not variable.nonce:
        return variable if variable.fingerprint == seen.fingerprint else None
    if variable is not None and variable.nonce == seen.identity:
        return variable
    job = namespace.job(seen.name, deadline)
    if job is None or job.nonce != seen.identity:
        return None
    return _with_nonce_of(job, variable) if variable else restored(namespace, job, deadline)


def _with_nonce_of(job: JobStub, variable: JobVariable) -> JobVariable:
    return msgspec.structs.replace(variable, nonce=job.nonce or variable.nonce)


def _end_before(
    namespace: Namespace, variable: JobVariable | None, job: JobStub | None, deadline: Deadline
) -> Outcome | None:
    """How the run ended before anybody cancelled it; None if it has not."""
    variable = variable or JobVariable()
    if variable.ended and variable.ended.outcome:
        return variable.ended.outcome
    if variable.reported:
        return _reported(variable.reported)
    if job is not None:
        allocations = namespace.allocations(job.id, deadline)
        seen = observation(Evidence(job, variable, allocations), _DRIVER)
        if seen.phase == "failed" and not (allocations or variable.ended):  # Nomad has removed what says how it ended
            seen = msgspec.structs.replace(seen, phase="gone")
    elif variable.ended:
        seen = without_job("", variable, _DRIVER)
    else:
        return None
    if variable.ended and seen.phase in ("waiting", "running"):  # it has passed a limit, and its tasks are ending
        return explanation(msgspec.structs.replace(seen, phase="failed"))
    return classify(seen)


def _reported(reason: str) -> Outcome:
    """The outcome whose reason is all that a reported Variable keeps."""
    code = next((rule.code for rule in RULES if rule.reason == reason), 0)
    return Outcome(reason=reason, code=code, hmessage="The run ended, and its end was reported.")


def _stop(namespace: Namespace, job: JobStub | None, deadline: Deadline) -> None:
    if job is not None and not job.stop:
        namespace.stop(job.id, deadline)
