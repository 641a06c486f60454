"""One name over all places: who may run a name that was taken in several places at once. Pure.

A name is unique in one place only: a namespace, or this host. So a request takes it in three steps.

    take: new ──▶ read the other places ──▶ admit: admitted (or assumed, if another engine did not answer)
                                       └──▶ yield: yielded

Every step is a guarded write: it fails if the claim has changed since it was read, or if another job has the name. No
container starts before `admitted` or `assumed`. At most one claim is admitted, because each request first takes the
name in its own place and then reads the others. Of two requests, the one that reads later finds the other's claim. If
that claim is new and has the greater rank, it is written as yielded before the request's own claim is admitted. In
every other case, the request's own claim yields.

A claim whose request died is completed by a repeat of the request; any request of the same task may do so.

`assumed` is for an engine that did not answer: it must not stop the others. Then two jobs may run, one in each engine.
Once that engine answers, the tracker settles the claim (`settlement`):

    my end is published        ─▶ the others yield ─▶ admitted
    another has the name       ─▶ yielded
    another assumed one        ─▶ the one that has ended stays, else the one of the least rank: it makes the other yield
    another that never began   ─▶ it yields

A job that yields is ended, and its end is reported to nobody: one run has one report. So an assumed claim is settled
before its end is published. If the other engine is still silent, the end is first stored with the job. That counts as
published: from then on the job does not yield.

A job without a claim was made where all pools led to one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from runner.errors import Conflict
from runner.jobs import JobSpec, State, Value
from runner.observation import Observation

Claim = Literal["", "new", "assumed", "admitted", "yielded"]

NEW: Claim = "new"
ASSUMED: Claim = "assumed"
ADMITTED: Claim = "admitted"
YIELDED: Claim = "yielded"


class Standing(Value, frozen=True, kw_only=True):
    """How a name stands in one place: which job or tombstone has it there, and what became of its claim.

    `identity` distinguishes the jobs that have had it, one after the other.
    """

    name: str
    driver: str
    place: str
    identity: str
    claim: Claim
    fingerprint: str = ""
    pool: str = ""
    cancelled: bool = False
    """The name is cancelled, and its run had not ended before."""
    over: bool = False
    """It was cancelled or ended, so its claim does not matter any more."""
    published: bool = False
    """Its end is published, or stored to be published. Nothing may contradict it."""
    unfinished: bool = False
    """Its request may be about to make its job."""
    abandoned: bool = False
    """Its request died before it made a job, so nothing runs there."""
    version: str = ""
    """What a write is guarded by, where the identity and the claim are not enough."""

    @property
    def yielded(self) -> bool:
        """Whether it has yielded to another one."""
        return self.claim == YIELDED and not self.over

    @property
    def holds_name(self) -> bool:
        """Whether it has the name: a request for it gets its answer from here. A new claim may still yield."""
        return self.over or self.claim in ("", ASSUMED, ADMITTED)

    @property
    def rank(self) -> tuple[str, str, str]:
        """The order of claims: the least one wins. It has nothing to do with time, which no two places share."""
        return (self.identity, self.driver, self.place)


class Admit(Value, frozen=True):
    """The name is free everywhere else."""


class YieldTo(Value, frozen=True):
    """The other one has the name, or will get it."""

    other: Standing


class OtherYieldsFirst(Value, frozen=True):
    """The other one must have yielded first; then the other places are read again."""

    other: Standing


Decision = Admit | YieldTo | OtherYieldsFirst


def decide(mine: Standing, others: Iterable[Standing]) -> Decision:
    """What becomes of my claim, which is new, once all the other places were read."""
    rivals: list[Standing] = []
    for other in others:
        if other.claim == NEW and not other.over:
            rivals.append(other)
        elif other.holds_name:
            return YieldTo(other)
    least = min(rivals, key=_rank, default=None)
    if least is None:
        return Admit()
    return YieldTo(least) if least.rank < mine.rank else OtherYieldsFirst(least)


def settlement(mine: Standing, others: Iterable[Standing]) -> Decision:
    """What becomes of my claim, which is assumed, once all the other places were read.

    A new one elsewhere does not count: it finds mine, and yields. An end comes before the rank. It is never taken back,
    and a job that has ended since it was read does not yield (see Place.move). So two trackers that read at different
    times never make both yield.
    """
    rivals = [other for other in others if other.claim not in (NEW, YIELDED) or other.over]
    if mine.published:
        unpublished = next((other for other in rivals if not other.published), None)
        return OtherYieldsFirst(unpublished) if unpublished else Admit()
    for other in rivals:
        if other.published or (other.claim != ASSUMED and not other.abandoned):
            return YieldTo(other)
    least = min(rivals, key=_furthest_first, default=None)
    if least is None:
        return Admit()
    return YieldTo(least) if _furthest_first(least) < _furthest_first(mine) else OtherYieldsFirst(least)


def answer(standing: Standing, job: JobSpec) -> State:
    """What the holder of the name answers a request that has not made it. Raises Conflict for another task."""
    if standing.cancelled:
        return "cancelled"
    if not job.same_task(standing.fingerprint):
        where = f"{standing.driver} {standing.place}".strip()
        raise Conflict(f"{job.name} exists on {where}, made from a different request; a new run needs a new run_id")
    return "exists"


def standing_of(seen: Observation) -> Standing:
    """The standing of a job that was made without a claim."""
    return Standing(
        name=seen.name,
        driver=seen.driver,
        place=seen.place,
        identity=seen.identity,
        claim="",
        fingerprint=seen.fingerprint,
        pool=seen.pool,
        cancelled=seen.cancelled and seen.ended_as is None,
        over=seen.cancelled or seen.ended is not None,
        published=seen.cancelled or seen.ended_as is not None or seen.reported or seen.phase == "succeeded",
    )


def rerouted(job: JobSpec, standing: Standing) -> JobSpec:
    """The job as it stands in another place of the same driver."""
    return msgspec.structs.replace(job, pool=standing.pool)


def _rank(standing: Standing) -> tuple[str, str, str]:
    return standing.rank


def _furthest_first(standing: Standing) -> tuple[bool, bool, tuple[str, str, str]]:
    return (not standing.over, standing.abandoned, standing.rank)
