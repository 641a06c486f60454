"""How many jobs are set aside now, over restarts, and after their results were sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runner.config.types import Config
from runner.errors import Unavailable
from runner.observation import Observation
from runner.outcomes import classify
from runner.tracker.set_aside import CHANGED_SECONDS, COUNT_SECONDS, FIRST_SECONDS
from tests.unit.tracker.world import World

Sample = Callable[[str], dict[str, Any]]
REFUSED_SECONDS = 1000
"""Within so many seconds, atlas has refused a result for good."""


@pytest.fixture
def world(config: Config) -> World:
    return World(config)


def shown(world: World) -> float | None:
    """What the metric says once what has changed was counted."""
    world.run(CHANGED_SECONDS + 2)
    return world.registry.get_sample_value("orchestrator_results_set_aside")


def refused(world: World, sample: Sample) -> Observation:
    """A job whose result atlas has refused for good."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    world.inbox.refuse(422)
    world.run(REFUSED_SECONDS)
    assert world.seen(job.name).set_aside
    return world.seen(job.name)


def test_it_is_counted_soon_after_atlas_has_refused_a_result(world: World, sample: Sample) -> None:
    world.run(FIRST_SECONDS)
    assert shown(world) == 0
    refused(world, sample)
    assert shown(world) == 1


def test_a_restarted_tracker_counts_what_the_one_before_it_set_aside(world: World, sample: Sample) -> None:
    refused(world, sample)
    world.track()
    world.run(FIRST_SECONDS)
    assert shown(world) == 1


def test_a_result_that_is_sent_again_and_accepted_is_not_counted_any_more(world: World, sample: Sample) -> None:
    seen = refused(world, sample)
    assert shown(world) == 1
    world.inbox.accept()
    assert world.driver.resend(seen)
    assert shown(world) == 0


def test_a_result_that_is_sent_again_counts_again_once_it_is_refused_again(world: World, sample: Sample) -> None:
    seen = refused(world, sample)
    assert shown(world) == 1
    assert world.driver.resend(seen)
    assert shown(world) == 0
    world.run(REFUSED_SECONDS)
    assert world.seen(seen.name).set_aside
    assert shown(world) == 1


def test_what_others_do_is_counted_within_minutes(world: World, sample: Sample) -> None:
    seen = refused(world, sample)
    assert shown(world) == 1
    world.driver.lose(seen.name)
    assert shown(world) == 1
    world.run(COUNT_SECONDS)
    assert shown(world) == 0


def test_where_nothing_changes_it_is_counted_once_in_five_minutes(world: World, sample: Sample) -> None:
    counts = _counts(world)
    world.run(FIRST_SECONDS + 9.5 * COUNT_SECONDS)
    assert len(counts) == 10


def test_a_count_that_fails_is_repeated_and_the_number_stays(world: World, sample: Sample) -> None:
    refused(world, sample)
    assert shown(world) == 1
    count, world.driver.count_set_aside = world.driver.count_set_aside, _unanswered  # type: ignore[method-assign]
    world.run(COUNT_SECONDS)
    assert shown(world) == 1
    world.driver.count_set_aside = count  # type: ignore[method-assign]
    outcome = classify(another := _other(world, sample))
    assert outcome is not None
    assert world.driver.set_aside(another, outcome)
    world.run(FIRST_SECONDS)
    assert shown(world) == 2


def test_a_tracker_that_waits_for_the_leadership_counts_nothing(world: World, sample: Sample) -> None:
    refused(world, sample)
    counts = _counts(world)
    world.driver.election = lambda: _Occupied()  # type: ignore[method-assign, return-value]
    world.track()
    world.run(COUNT_SECONDS)
    assert (shown(world), counts) == (0, [])


class _Occupied:
    """A record that another tracker renews."""

    where = "a record"

    def __init__(self) -> None:
        self._reads = 0

    def read(self, deadline: object) -> tuple[str, str]:
        self._reads += 1
        return "another", str(self._reads)


def _other(world: World, sample: Sample) -> Observation:
    job = world.submit("analysis_run", {**sample("analysis"), "run_id": "another"})
    world.driver.finish(job.name, main_exit=3)
    return world.seen(job.name)


def _counts(world: World) -> list[int]:
    """What each count gives from now on."""
    counts: list[int] = []
    count = world.driver.count_set_aside

    def counted() -> int:
        counts.append(count())
        return counts[-1]

    world.driver.count_set_aside = counted  # type: ignore[method-assign]
    return counts


def _unanswered() -> int:
    raise Unavailable("no answer")
