"""Carries a request through the claim protocol (see `claims`), with any driver's places.

does a job in another place hold the name? ─▶ it answers
       │ no
       ▼
take ─▶ read the other places ─▶ decide ─▶ admit | yield | make the other one yield, then read again
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from runner.drivers.claims import (
    ADMITTED,
    ASSUMED,
    NEW,
    YIELDED,
    Admit,
    Claim,
    OtherYieldsFirst,
    Standing,
    YieldTo,
    answer,
    decide,
    rerouted,
    settlement,
)
from runner.drivers.several import AtOnce, Submit
from runner.errors import OrchestratorError, Unavailable
from runner.jobs import JobSpec, State
from runner.runtime.clock import Deadline

log = logging.getLogger("orchestrator.claims")

OTHER_ENGINE_SECONDS = 1.0
"""How long the other engines may take to answer, all together. One that does not answer does not stop the others."""

SETTLE_ROUNDS = 3
"""How often the tracker decides on an assumed claim at one time. It comes back to it."""

ROUNDS = 20
"""How often a request decides. Every repetition means that another request has changed a claim in between."""


class Place(Protocol):
    """A namespace of an engine, or this host."""

    driver: str
    name: str

    def standing(self, name: str, deadline: Deadline) -> Standing | None:
        """How the name stands here; None if it is free. The read must show every write that came before it."""

    def move(self, standing: Standing, claim: Claim, deadline: Deadline) -> bool:
        """Change its claim. False if it is not as it was read: another claim, cancelled, ended, another job or none.

        With `yielded` it ends, is reported to nobody, and frees the name. False as well if it was released and has
        changed in any way since it was read, or if its run has succeeded: then it has published its result.
        """


class Taking(Protocol):
    """One request's hold on its name, in a place that its driver can write to."""

    @property
    def place(self) -> Place:
        """Where it is to stand."""

    def take(self, deadline: Deadline) -> Standing | None:
        """Claim the name as new. What stands there now: this claim or another's; None if that was just deleted."""

    def admit(self, mine: Standing, claim: Claim, deadline: Deadline) -> bool:
        """Like Place.move, with what the job needs to start."""

    def in_place_of(self, standing: Standing) -> Taking | None:
        """The same request's hold on the name in that place; None if it must be left to the request that took it."""


class Engine(Protocol):
    """The driver of another engine. See Driver."""

    name: str

    def places(self) -> Sequence[Place]:
        """Where its pools lead."""

    def complete(self, job: JobSpec, deadline: Deadline) -> State | None:
        """See Driver.complete."""


class _Submits(Protocol):
    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""


class MadeAtOnce:
    """A driver that makes a job by one step, so there is nothing to complete, and a repeat costs no write."""

    def submitter(self: _Submits, _jobs: Sequence[JobSpec], _deadline: Deadline, _at_once: AtOnce) -> Submit:
        """See Driver.submitter."""
        return self.submit

    def complete(self, _job: JobSpec, _deadline: Deadline) -> State | None:
        """See Driver.complete."""
        return None


class OtherPlaces:
    """The other places, as one request sees them: those of its own engine, and those of other engines."""

    def __init__(self, own: Sequence[Place], others: Sequence[Sequence[Place]], engines: Sequence[Engine] = ()) -> None:
        self._own = own
        self._others = others
        self._engines = engines
        self.silent: set[str] = set()
        """The engines that did not answer. They are not asked again by this request."""

    def standings(self, name: str, here: Place, deadline: Deadline) -> list[Standing]:
        """How the name stands in every place but `here`. Raises if a place of the own engine does not answer."""
        own = (place.standing(name, deadline) for place in self._own if not _same(place, here))
        return [found for found in own if found is not None] + list(self._other_engines(name, deadline))

    @classmethod
    def of(cls, own: Sequence[Place], engines: Sequence[Engine]) -> OtherPlaces:
        """The places of the own engine, and all those of the others."""
        return cls(own, [engine.places() for engine in engines], engines)

    def answer(self, standing: Standing, job: JobSpec, deadline: Deadline) -> State:
        """The answer of the job that holds the name. Raises Conflict for another task.

        The request that admitted it may have died before its last step. The driver of that engine takes that step.
        """
        state = answer(standing, job)
        engine = next((each for each in self._engines if each.name == standing.driver), None)
        if engine is None or standing.over or not standing.pool:
            return state
        return engine.complete(rerouted(job, standing), deadline) or state

    def make_yield(self, standing: Standing, deadline: Deadline) -> None:
        """Write that it has yielded, if it is still as it was read."""
        for place in self._own:
            if is_in(standing, place):
                place.move(standing, YIELDED, deadline)
        for places in self._others:
            for place in places:
                if is_in(standing, place):
                    try:
                        place.move(standing, YIELDED, self._briefly(deadline))
                    except OrchestratorError as error:
                        self._note_silent(place, error)

    def _other_engines(self, name: str, deadline: Deadline) -> Iterator[Standing]:
        for places in self._others:
            within = self._briefly(deadline)
            for place in places:
                if place.driver in self.silent:
                    continue
                try:
                    found = place.standing(name, within)
                except OrchestratorError as error:
                    self._note_silent(place, error)
                    continue
                if found is not None:
                    yield found

    def _briefly(self, deadline: Deadline) -> Deadline:
        seconds = min(OTHER_ENGINE_SECONDS / len(self._others), deadline.left)
        return Deadline.after(seconds, deadline.clock)

    def _note_silent(self, place: Place, error: OrchestratorError) -> None:
        self.silent.add(place.driver)
        log.warning("%s: %s; it was not read, so a job of the same name may run there as well", place, error.detail)


def claimed(job: JobSpec, taking: Taking, others: OtherPlaces, deadline: Deadline) -> tuple[Standing, Taking]:
    """The standing that answers the request, and the hold on its place.

    Raises Unavailable if the name is being taken by a request that cannot be helped from here.
    """
    found = others.standings(job.name, taking.place, deadline)
    if there := _answering(job, found, taking):
        mine, taking = there
    else:
        mine = _present(taking.take(deadline), job)
    for _ in range(ROUNDS):
        deadline.check(f"taking the name {job.name}")
        if mine.holds_name:
            return mine, taking
        found = others.standings(job.name, taking.place, deadline)
        if mine.yielded:
            if (there := _answering(job, found, taking)) is None:
                break
            mine, taking = there
            continue
        mine = _present(_step(mine, found, taking, others, deadline), job)
    raise Unavailable(f"{job.name} is being created in another place; repeat the request", retry_after=1)


def held_elsewhere(place: Place, name: str, others: OtherPlaces, deadline: Deadline) -> Standing | None:
    """The job in another place that holds the name; None once every other place has yielded it.

    For a place that creates a job at once, without a claim that others could see as new for long. While it does, it
    shows a claim with an empty identity, which is the least of all.
    """
    mine = Standing(name=name, driver=place.driver, place=place.name, identity="", claim=NEW)
    for _ in range(ROUNDS):
        deadline.check(f"taking the name {name}")
        decision = decide(mine, others.standings(name, place, deadline))
        if isinstance(decision, Admit):
            return None
        if isinstance(decision, YieldTo):
            if decision.other.holds_name:
                return decision.other
            break
        others.make_yield(decision.other, deadline)
    raise Unavailable(f"{name} is being created in another place; repeat the request", retry_after=1)


def settle(mine: Standing, place: Place, others: OtherPlaces, deadline: Deadline) -> Claim:
    """What has become of an assumed claim; still `assumed` if another engine does not answer, or changes meanwhile."""
    for _ in range(SETTLE_ROUNDS):
        found = [] if others.silent else others.standings(mine.name, place, deadline)
        if others.silent or mine.unfinished or (not mine.published and any(each.unfinished for each in found)):
            break
        decision = settlement(mine, found)
        if isinstance(decision, OtherYieldsFirst):
            log.warning("%s runs in %s as well; it is ended there", mine.name, decision.other.driver)
            others.make_yield(decision.other, deadline)
            continue
        claim: Claim = YIELDED if isinstance(decision, YieldTo) else ADMITTED
        if place.move(mine, claim, deadline):
            log.info("%s in %s: its claim is %s", mine.name, place, claim)
            return claim
        now = place.standing(mine.name, deadline)
        if now is None or now.identity != mine.identity or now.claim != ASSUMED:
            return now.claim if now and now.identity == mine.identity else YIELDED
        mine = now
    return ASSUMED


def settle_before_end(mine: Standing, place: Place, others: OtherPlaces, deadline: Deadline) -> Claim:
    """Decide on a claim before its job is ended. Returns what it is then; `assumed` if that cannot be known yet."""
    if mine.claim != NEW:
        return settle(mine, place, others, deadline)
    yielded = yield_if_taken(mine, place, others, deadline)
    return YIELDED if yielded else ASSUMED if others.silent else NEW


def yield_if_taken(mine: Standing, place: Place, others: OtherPlaces, deadline: Deadline) -> bool:
    """Make a new claim that nobody has completed yield, if another place has the name. Returns whether it did."""
    decision = decide(mine, others.standings(mine.name, place, deadline))
    return isinstance(decision, YieldTo) and place.move(mine, YIELDED, deadline)


def _step(
    mine: Standing, found: Sequence[Standing], taking: Taking, others: OtherPlaces, deadline: Deadline
) -> Standing | None:
    """Carry out one decision. My claim as it is then; None if it is gone."""
    decision = decide(mine, found)
    if isinstance(decision, OtherYieldsFirst):
        others.make_yield(decision.other, deadline)
        return mine
    if isinstance(decision, Admit):
        claim: Claim = ASSUMED if others.silent else ADMITTED
        moved = taking.admit(mine, claim, deadline)
    else:
        claim = YIELDED
        moved = taking.place.move(mine, claim, deadline)
    return msgspec.structs.replace(mine, claim=claim) if moved else taking.place.standing(mine.name, deadline)


def _answering(job: JobSpec, found: Sequence[Standing], taking: Taking) -> tuple[Standing, Taking] | None:
    """The standing in another place that answers this request, or that this request may complete."""
    for standing in found:
        if standing.holds_name:
            return standing, taking.in_place_of(standing) or taking
    for standing in found:
        adoptable = standing.claim == NEW and job.same_task(standing.fingerprint)
        if adoptable and (there := taking.in_place_of(standing)):
            return standing, there
    return None


def _present(standing: Standing | None, job: JobSpec) -> Standing:
    if standing is None:
        raise Unavailable(f"{job.name} was deleted while it was being created; repeat the request")
    return standing


def _same(one: Place, other: Place) -> bool:
    return (one.driver, one.name) == (other.driver, other.name)


def is_in(standing: Standing, place: Place) -> bool:
    """Whether the name stands in that place."""
    return (standing.driver, standing.place) == (place.driver, place.name)
