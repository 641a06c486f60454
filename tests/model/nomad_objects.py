"""What a Nomad cluster has under one name, and what a reading of it shows. See runner/drivers/nomad/observation.py."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.following import Record, Seen, Sent, classify


class Variable(NamedTuple):
    """See runner.drivers.nomad.variable.JobVariable. Two that are equal have one index."""

    nonce: int
    open: bool = True
    claim: bool = False
    """A new claim: closed until its request, or a repeat, admits it."""
    cancelled: bool = False
    ended: str = ""
    stored: bool = False
    """`ended` has an outcome, not only the limit that was passed."""
    reported: str = ""
    aside: bool = False
    published: str = ""
    tomb: bool = False
    resent: int = 0
    said: str = ""
    """What was reported when an operator asked for it again."""
    marked: bool = False
    """Its end was published and marked once, in truth."""

    @property
    def awaits_submit(self) -> bool:
        """See JobVariable.awaits_submit."""
        return self.open or (self.claim and not (self.cancelled or self.ended or self.reported))

    @property
    def free(self) -> bool:
        """See JobVariable.free."""
        return self.reported == "deleted" and not self.ended


class Job(NamedTuple):
    """A registered job with its allocation."""

    nonce: int
    run: str = "waiting"
    by: str = ""
    """What ended it first, in truth: itself (ok, bad), limit or cancel."""
    stop: bool = False
    dead: bool = False


class Submit(NamedTuple):
    """A client's submit, and what it does next: write, read, admit, check, register."""

    step: str
    nonce: int
    missing: bool = False
    """It wrote the first Variable of the name."""
    claim: int = 0
    """The claim that it is to admit. It may be another request's."""


class Read(NamedTuple):
    """What a cancel has read."""

    variable: Variable | None
    seen: Seen | None
    job: bool


class State(NamedTuple):
    """The cluster, the clients, the trackers and atlas."""

    variable: Variable | None
    job: Job | None
    trackers: tuple[Record | None, ...]
    clients: tuple[Submit | None, ...]
    cancelling: Read | None = None
    atlas: frozenset[Sent] = frozenset()
    pending: frozenset[tuple[int, str]] = frozenset()
    lost: frozenset[int] = frozenset()
    confirmed: bool = False
    done: bool = False
    """A run under this name has ended by itself, and the name has not become free since."""
    nonces: int = 0
    submits: int = 0
    cancels: int = 0
    purges: int = 0
    deletes: int = 0
    kills: int = 0
    stale: int = 0
    refusals: int = 0
    resends: int = 0
    bad: str = ""


def with_submit(state: State, number: int, submit: Submit | None) -> State:
    """The state once this client's submit has gone on; None if it has ended."""
    clients = tuple(submit if at == number else each for at, each in enumerate(state.clients))
    return state._replace(clients=clients)


def end_before(known: Read) -> str:
    """See closing._end_before."""
    variable, seen = known.variable, known.seen
    if variable and variable.stored:
        return variable.ended
    if variable and variable.reported:
        return variable.reported
    if variable and variable.ended and (seen is None or seen.phase in ("waiting", "running")):
        return variable.ended
    return classify(seen) if seen and known.job else variable.ended if variable else ""


def registered(job: Job, variable: Variable | None) -> Seen:
    """What a registered job shows. The run's own end is shown by its allocation."""
    identity = variable.nonce if variable else job.nonce
    if job.run == "over" and job.by in ("ok", "bad"):
        phase, reason = ("succeeded", "") if job.by == "ok" else ("failed", "failed")
    elif not job.dead:
        phase, reason = ("waiting" if job.run == "waiting" else "running"), ""
    elif variable and (variable.cancelled or variable.ended):
        phase, reason = "failed", variable.ended or "unknown"
    else:
        phase, reason = ("gone", "") if job.stop else ("failed", "unknown")
    return observation(variable, identity, phase, reason)


def observation(variable: Variable | None, identity: int, phase: str, reason: str) -> Seen:
    """The phase, with what the Variable says."""
    if variable is None:
        return Seen(identity, phase, reason)
    ended_as = variable.ended if variable.stored else ""
    return Seen(
        identity,
        phase,
        reason,
        variable.cancelled,
        ended_as,
        variable.published,
        bool(variable.reported),
        variable.resent,
    )
