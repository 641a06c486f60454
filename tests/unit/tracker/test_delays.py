"""The tracker: what is slow, refused, stuck or out of order delays nothing else, and no limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from runner.config.types import Config, LimitsSection
from runner.drivers.driver import Retention, Source, View
from runner.errors import Unavailable
from runner.observation import Observation
from runner.runtime.metrics import definitions
from runner.tracker.circuit_breaker import LONGEST_RETRY_AFTER
from runner.tracker.following import STALE_SECONDS
from runner.tracker.publisher import NotAccepted
from runner.tracker.term import Term
from runner.tracker.tracker import STUCK_SECONDS
from tests.unit.tracker.test_tracker import Scripted, waiting
from tests.unit.tracker.world import PUBLISHERS, World

Sample = Callable[[str], dict[str, Any]]


@pytest.fixture
def world(config: Config) -> World:
    return World(config)


def ended(world: World, sample: Sample, run_id: str) -> str:
    """A job that has failed. Returns its name."""
    job = world.submit("analysis_run", {**sample("analysis"), "run_id": run_id})
    world.driver.finish(job.name, main_exit=1)
    return job.name


def test_a_result_whose_refusal_asks_for_an_hour_arrives_a_minute_after_atlas_is_back(
    world: World, sample: Sample
) -> None:
    ended(world, sample, "run-1")
    world.inbox.answer = lambda _: NotAccepted("atlas answered 503", status=503, retry_after=3600)
    world.run(10)
    world.inbox.accept()
    world.run(LONGEST_RETRY_AFTER + 1)
    assert world.inbox.codes() == [5107]


@pytest.mark.parametrize("status", [401, 403])
def test_results_that_are_refused_for_ever_delay_no_other(world: World, sample: Sample, status: int) -> None:
    """Their runs are of another key, say. There are as many as there are results in flight."""
    world.inbox.answer = lambda name: NotAccepted("refused", status=status) if "refused" in name else None
    for number in range(PUBLISHERS):
        ended(world, sample, f"refused-{number}")
    world.run(60)
    ended(world, sample, "first")
    world.run(40)  # the first one may be the one that finds out that atlas is there
    late = []
    for number in range(20):
        name = ended(world, sample, f"good-{number}")
        world.run(4)
        late += [name] * (len(world.inbox.accepted) < number + 2)
    assert late == []


def test_a_key_that_atlas_does_not_accept_opens_the_breaker_after_refusals_of_another_kind(
    world: World, sample: Sample
) -> None:
    """Each result had been tried before, and 400 says that atlas is there."""
    status = 400
    world.inbox.answer = lambda _: NotAccepted("refused", status=status)
    for number in range(60):
        ended(world, sample, f"run-{number}")
    world.run(10)
    status = 401
    world.run(60)
    before = len(world.inbox.attempts)
    world.run(300)
    assert len(world.inbox.attempts) - before < 30


def test_events_that_are_read_slowly_delay_no_end(world: World) -> None:
    limits = LimitsSection()
    silent = [
        msgspec.structs.replace(waiting(world), name=f"silent-{number}", identity=f"{number}") for number in range(200)
    ]
    missing = msgspec.structs.replace(waiting(world, image_error="not found"), name="missing", identity="m")
    driver = Scripted(world, [*silent, missing])

    def slow(seen: Observation) -> Observation:
        world.clock.sleep(1)
        return seen

    driver.events = slow
    world.track(driver)
    world.run(limits.image_seconds + 5)
    assert [each.reason for each in driver.ended] == ["image_unavailable"]
    assert driver.explained > 20


@dataclass
class Read:
    """A source that can be read, or not."""

    name: str
    works: bool
    pause: float = 2.0

    def follow(self, view: View) -> None:
        if not self.works:
            raise Unavailable("the list timed out")
        view.alive()


class TwoSources(Scripted):
    def sources(self) -> Sequence[Source]:
        return (Read("jobs", False), Read("Variables", True))


def test_the_oldest_source_says_how_old_the_view_is(world: World) -> None:
    """The other one is read all the time, and no end is noticed by it."""
    driver = TwoSources(world, [])
    world.track(driver)
    world.run(STALE_SECONDS + 30)
    (status,) = world.statuses[-1].values()
    assert status["stale"] == ["jobs"]
    assert status["heard_seconds_ago"] > STALE_SECONDS
    metric = world.registry.get_sample_value(definitions.LAST_SUCCESS.name, {"driver": driver.name})
    assert metric is not None
    assert world.clock.wall() - metric > STALE_SECONDS


def test_a_tracker_that_is_to_stop_waits_for_no_slow_atlas(world: World, sample: Sample) -> None:
    """Another one is to lead within two seconds, of which it may take 1.25 until it looks again."""

    def slow(_: str) -> None:
        world.clock.sleep(12)

    ended(world, sample, "run-1")
    world.inbox.answer = slow
    world.run(3)
    assert world.inbox.attempts
    began = world.clock.monotonic()
    world.kill(5)
    assert began < world.stopped <= began + 0.75


def test_a_tracker_that_is_stuck_is_not_heard_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(10)
    heard = len(world.statuses)
    monkeypatch.setattr(Term, "dispatch", lambda _: world.clock.sleep(60))
    world.run(STUCK_SECONDS + 3)
    silent = len(world.statuses)
    assert silent - heard < STUCK_SECONDS + 3
    world.run(30)
    assert len(world.statuses) == silent


@pytest.mark.parametrize(("fails", "least", "most"), [(False, 4, 7), (True, 15, 25)], ids=["it works", "it fails"])
def test_reconciling_takes_a_tenth_of_the_time_at_the_most(world: World, fails: bool, least: int, most: int) -> None:
    """Nomad lists ten thousand retained jobs for each round. One that fails is repeated at the usual interval."""
    rounds = []

    def reconcile(_: Retention | None) -> int:
        rounds.append(world.clock.monotonic())
        world.clock.sleep(1)
        if fails:
            raise Unavailable("Nomad does not answer")
        return 0

    driver = Scripted(world, [])
    driver.reconcile = reconcile  # type: ignore[method-assign, assignment]
    world.track(driver)
    world.run(60)
    assert least <= len(rounds) <= most
