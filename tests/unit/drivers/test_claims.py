"""runner.drivers.claims and claiming: who gets a name that was taken in several places."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from runner.drivers.claiming import OtherPlaces, held_elsewhere
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
    settlement,
)
from runner.errors import Conflict, Unavailable
from runner.runtime.clock import Deadline
from tests.conformance.jobs import job
from tests.harness.clock import ManualClock


def at(place: str, claim: Claim, identity: str = "", **facts: bool) -> Standing:
    return Standing(name="n", driver="d", place=place, identity=identity or place, claim=claim, **facts)


MINE = {claim: at("m", claim) for claim in (NEW, ASSUMED)}
LESSER, GREATER = "a", "z"

TABLE = [
    # mine, the others (place, claim), the decision as a verb and the place that it is about
    (NEW, [], "admit", ""),
    (NEW, [(LESSER, YIELDED)], "admit", ""),
    (NEW, [(LESSER, NEW)], "yield", LESSER),
    (NEW, [(GREATER, NEW)], "mark", GREATER),
    (NEW, [(GREATER, NEW), (LESSER, NEW)], "yield", LESSER),
    (NEW, [(GREATER, NEW), (LESSER, YIELDED)], "mark", GREATER),
    *[(NEW, [(where, claim)], "yield", where) for where in (LESSER, GREATER) for claim in ("", ASSUMED, ADMITTED)],
    (NEW, [(LESSER, NEW), (GREATER, ADMITTED)], "yield", GREATER),
    (ASSUMED, [], "admit", ""),
    (ASSUMED, [(LESSER, NEW)], "admit", ""),
    (ASSUMED, [(LESSER, YIELDED)], "admit", ""),
    (ASSUMED, [(LESSER, ASSUMED)], "yield", LESSER),
    (ASSUMED, [(GREATER, ASSUMED)], "mark", GREATER),
    (ASSUMED, [(GREATER, ADMITTED)], "yield", GREATER),
    (ASSUMED, [(GREATER, "")], "yield", GREATER),
    (ASSUMED, [(LESSER, ASSUMED), (GREATER, ADMITTED)], "yield", GREATER),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "others", "verb", "place"), TABLE)
def test_the_table(claim: Claim, others: Iterable[tuple[str, Claim]], verb: str, place: str) -> None:
    decision = (decide if claim == NEW else settlement)(MINE[claim], [at(*each) for each in others])
    kind = {"admit": Admit, "yield": YieldTo, "mark": OtherYieldsFirst}[verb]
    assert isinstance(decision, kind)
    assert (decision.other.place if isinstance(decision, YieldTo | OtherYieldsFirst) else "") == place


@pytest.mark.parametrize("claim", ["", NEW, ASSUMED, ADMITTED, YIELDED])
def test_what_was_cancelled_or_has_ended_holds_the_name_whatever_its_claim(claim: Claim) -> None:
    over = at(GREATER, claim, over=True)
    assert decide(MINE[NEW], [over]) == YieldTo(over)
    assert (over.holds_name, over.yielded) == (True, False)


def test_of_two_new_claims_exactly_one_yields_to_the_other() -> None:
    """Also if their identities are equal, in two places."""
    for other in (at("a", NEW), at("z", NEW), at("z", NEW, identity="m")):
        both = {type(decide(MINE[NEW], [other])), type(decide(other, [MINE[NEW]]))}
        assert both == {YieldTo, OtherYieldsFirst}


LIVE: dict[str, bool] = {}
OVER, PUBLISHED = {"over": True}, {"over": True, "published": True}


@pytest.mark.parametrize(
    ("mine", "other", "where", "kind"),
    [
        (LIVE, OVER, GREATER, YieldTo),
        (OVER, LIVE, LESSER, OtherYieldsFirst),
        (OVER, OVER, LESSER, YieldTo),
        (OVER, OVER, GREATER, OtherYieldsFirst),
        (LIVE, PUBLISHED, GREATER, YieldTo),
        (OVER, PUBLISHED, GREATER, YieldTo),
        (PUBLISHED, LIVE, LESSER, OtherYieldsFirst),
        (PUBLISHED, OVER, LESSER, OtherYieldsFirst),
        (PUBLISHED, PUBLISHED, LESSER, Admit),
    ],
)
def test_of_two_assumed_jobs_the_one_that_has_ended_stays(
    mine: dict[str, bool], other: dict[str, bool], where: str, kind: type[object]
) -> None:
    assert isinstance(settlement(at("m", ASSUMED, **mine), [at(where, ASSUMED, **other)]), kind)


def test_an_admitted_job_yields_only_to_a_published_end() -> None:
    admitted = at(LESSER, ADMITTED)
    assert settlement(at("m", ASSUMED, **OVER), [admitted]) == YieldTo(admitted)
    assert settlement(at("m", ASSUMED, **PUBLISHED), [admitted]) == OtherYieldsFirst(admitted)


def test_the_answer_of_a_settled_name() -> None:
    wanted = job("shell", name="n", fingerprint="f")
    stands = msgspec.structs.replace(at("a", ADMITTED), fingerprint="f")
    assert answer(stands, wanted) == "exists"
    assert answer(msgspec.structs.replace(stands, cancelled=True, over=True), wanted) == "cancelled"
    with pytest.raises(Conflict, match="d a"):
        answer(msgspec.structs.replace(stands, fingerprint="g"), wanted)


class Shelf:
    """A place whose standings are scripted."""

    name = ""

    def __init__(self, driver: str, *found: Standing | Unavailable | None) -> None:
        self.driver = driver
        self.found = list(found)
        self.asked: list[float] = []
        self.moved: list[tuple[str, Claim]] = []

    def standing(self, _name: str, deadline: Deadline) -> Standing | None:
        self.asked.append(deadline.left)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Unavailable):
            raise found
        return found

    def move(self, standing: Standing, claim: Claim, _deadline: Deadline) -> bool:
        self.moved.append((standing.identity, claim))
        return True


def there(driver: str, claim: Claim) -> Standing:
    return Standing(name="n", driver=driver, place="", identity="i", claim=claim)


class TestElsewhere:
    def test_other_engines_share_one_second_and_those_that_fail_are_not_asked_again(self) -> None:
        clock = ManualClock()
        here, silent, other = Shelf("local", None), Shelf("nomad", Unavailable("down")), Shelf("kubernetes", None)
        others = OtherPlaces([], [[silent], [other]])
        deadline = Deadline.after(30, clock)
        for _ in range(2):
            assert others.standings("n", here, deadline) == []
        assert silent.asked == [0.5]
        assert other.asked == [0.5, 0.5]
        assert others.silent == {"nomad"}

    def test_a_place_of_the_own_engine_must_answer(self) -> None:
        down = Shelf("kubernetes", Unavailable("down"))
        with pytest.raises(Unavailable):
            OtherPlaces([down], []).standings("n", Shelf("local", None), Deadline.after(30, ManualClock()))


class TestSettledElsewhere:
    """For a driver that creates a job by one step."""

    def outcome(self, *found: Standing | None) -> tuple[Standing | None, Shelf]:
        there = Shelf("nomad", *found)
        deadline = Deadline.after(30, ManualClock())
        return held_elsewhere(Shelf("local", None), "n", OtherPlaces([], [[there]]), deadline), there

    def test_a_free_name(self) -> None:
        assert self.outcome(None)[0] is None

    def test_a_settled_name(self) -> None:
        assert self.outcome(there("nomad", ADMITTED))[0] == there("nomad", ADMITTED)

    def test_a_new_claim_is_marked_first(self) -> None:
        found, shelf = self.outcome(there("nomad", NEW), there("nomad", YIELDED))
        assert found is None
        assert shelf.moved == [("i", YIELDED)]

    def test_a_new_claim_that_was_admitted_meanwhile_has_the_name(self) -> None:
        found, _ = self.outcome(there("nomad", NEW), there("nomad", ADMITTED))
        assert found == there("nomad", ADMITTED)
