"""A result that is asked for again: it is published once more under the same id, whatever the views have shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.errors import Unavailable
from runner.observation import Observation, Outcome, waits_otherwise
from runner.outcomes import RULES, classify, kept, missed_end
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.finished import FinishedJobs
from runner.tracker.ledger.record import Record
from tests.unit.tracker.world import World

FAILED = Observation(
    name="j", driver="d", pool="p", phase="failed", created=0.0, identity="1", main_exit=3, container="marvin"
)


Sample = Callable[[str], dict[str, Any]]


@pytest.fixture
def world(config: Config) -> World:
    return World(config)


def changed(seen: Observation, **facts: object) -> Observation:
    return msgspec.structs.replace(seen, **facts)


def record(seen: Observation) -> Record:
    return Record(seen=seen, first_seen=0.0, backoff=Backoff(1.0, 2.0, lambda: 0.5))


def test_a_reported_result_is_published_again_under_the_same_id(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    world.run()
    assert world.driver.resend(world.seen(job.name))
    world.run()

    first, second = world.inbox.accepted
    assert first == second
    assert world.seen(job.name).reported
    world.run(300)
    assert len(world.inbox.attempts) == 2


def test_it_is_published_again_although_no_list_has_shown_the_mark(world: World, sample: Sample) -> None:
    """The mark and the resend come between two lists of the tracker."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    marks = world.driver.mark_reported

    def resent_at_once(seen: Observation, outcome: Outcome) -> bool:
        done = marks(seen, outcome)
        if seen.resent == 0:
            assert world.driver.resend(world.seen(job.name))
        return done

    world.driver.mark_reported = resent_at_once  # type: ignore[method-assign]
    world.run(10)

    first, second = world.inbox.accepted
    assert first == second
    assert world.seen(job.name).reported


def test_what_another_tracker_has_marked_is_published_again_too(world: World, sample: Sample) -> None:
    """This one has published the result, and could not mark it. It keeps the id until it has."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    marks = world.driver.mark_reported

    def unanswered(seen: Observation, outcome: Outcome) -> bool:
        raise Unavailable("no answer")

    world.driver.mark_reported = unanswered  # type: ignore[method-assign]
    world.run(10)
    outcome = classify(world.seen(job.name))
    assert outcome is not None
    assert marks(world.seen(job.name), outcome)
    assert world.driver.resend(world.seen(job.name))
    world.driver.mark_reported = marks  # type: ignore[method-assign]
    world.run(60)

    first, second = world.inbox.accepted
    assert first == second
    assert world.seen(job.name).reported


def test_a_result_that_was_set_aside_is_published_once_atlas_takes_it(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    world.inbox.refuse(422)
    world.run(1000)
    assert world.seen(job.name).set_aside
    world.inbox.accept()
    assert world.driver.resend(world.seen(job.name))
    world.run()

    assert world.inbox.codes() == [5107]
    assert (world.seen(job.name).reported, world.seen(job.name).set_aside) == (True, False)


def test_both_results_of_a_job_that_was_cancelled_after_its_end_are_published_again(
    world: World, sample: Sample
) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)
    world.run()
    world.cancel(sample("analysis"))
    world.run()
    assert world.inbox.codes() == [5107, 5001]
    assert world.driver.resend(world.seen(job.name))
    world.run()

    assert world.inbox.codes() == [5107, 5001, 5107, 5001]
    ids = [sent.id for sent in world.inbox.accepted]
    assert ids[:2] == ids[2:]


@pytest.mark.parametrize(
    ("cancelled", "resent", "still_finished"),
    [(False, 1, True), (False, 0, True), (False, 2, False), (True, 1, False)],
)
def test_only_what_follows_makes_a_job_unfinished(cancelled: bool, resent: int, still_finished: bool) -> None:
    finished = FinishedJobs()
    finished.add(record(changed(FAILED, resent=1)))
    assert finished.has(changed(FAILED, cancelled=cancelled, resent=resent)) == still_finished


def test_a_record_that_is_sent_again_has_sent_nothing() -> None:
    known = record(FAILED)
    known.outcome = classify(FAILED)
    known.accepted.add("id")
    known.observe(FAILED, 1.0)
    assert (known.outcome, known.accepted) == (classify(FAILED), {"id"})
    known.observe(changed(FAILED, resent=1), 2.0)
    assert (known.outcome, known.accepted) == (None, set())


@pytest.mark.parametrize("rule", RULES[3:], ids=lambda rule: rule.reason)
def test_the_reason_of_the_first_report_is_kept_when_the_evidence_is_gone(rule: object) -> None:
    again = kept(changed(FAILED, main_exit=None), rule.reason)  # type: ignore[attr-defined]
    assert again is not None
    assert (again.reason, again.code) == (rule.reason, rule.code)  # type: ignore[attr-defined]
    assert "{" not in again.hmessage


def test_the_evidence_is_kept_while_it_is_there() -> None:
    assert kept(FAILED, "analyzer_failed") == classify(FAILED)


@pytest.mark.parametrize(
    "seen",
    [
        changed(FAILED, cancelled=True),
        changed(FAILED, phase="succeeded", cancelled=True),
        changed(FAILED, ended_as=Outcome(reason="unknown", code=5199, hmessage="")),
        changed(FAILED, phase="running", main_exit=None),
    ],
)
def test_what_is_stored_or_may_yet_be_seen_is_not_replaced(seen: Observation) -> None:
    assert kept(seen, "analyzer_failed") is None


def test_a_run_that_published_its_result_before_its_end_came_into_force_is_not_reported_as_ended() -> None:
    ended = changed(FAILED, main_exit=None, ended_as=Outcome(reason="unschedulable", code=5102, hmessage=""))
    again = kept(ended, "succeeded")
    assert again is not None
    assert (again.reason, again.code) == ("succeeded", 0)
    assert kept(ended, "unschedulable") is None
    assert kept(changed(ended, cancelled=True), "succeeded") is None


def test_a_cancellation_that_was_confirmed_before_its_end_was_seen_keeps_its_code() -> None:
    ended = changed(FAILED, phase="succeeded", main_exit=0, cancelled=True)
    assert classify(ended).code == 5001  # type: ignore[union-attr]
    again = changed(ended, ended_as=kept(ended, "cancelled"))
    assert classify(again).code == 5000  # type: ignore[union-attr]
    assert kept(again, "cancelled") is None


@pytest.mark.parametrize("phase", ["waiting", "running", "failed"])
def test_a_cancelled_job_that_shows_no_end_is_left_as_it_is(phase: str) -> None:
    """A job without containers only notes that a cancel came before its run. It must stay that."""
    assert kept(changed(FAILED, phase=phase, main_exit=None, cancelled=True), "cancelled") is None


def test_only_an_end_that_was_reported_is_stored_with_the_mark() -> None:
    running = changed(FAILED, phase="running", main_exit=None)
    cancelled, ended = changed(running, phase="failed", cancelled=True), changed(FAILED, phase="succeeded", main_exit=0)
    late = changed(ended, cancelled=True)
    assert missed_end(late, classify(cancelled)) is None  # type: ignore[arg-type]
    assert missed_end(late, classify(late)) == classify(ended)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "otherwise"),
    [
        ({}, False),
        ({"phase": "running"}, True),
        ({"instance": "pod-2"}, True),
        ({"instance": ""}, True),
        ({"begun": 1}, True),
        ({"scheduled": True}, True),
        ({"image_error": "not found"}, True),
        ({"held": ""}, True),
    ],
)
def test_a_job_is_ended_only_while_it_waits_as_it_was_seen_to(now: dict[str, Any], otherwise: bool) -> None:
    seen = changed(FAILED, phase="waiting", main_exit=None, instance="pod-1", incomplete=True, held="queue batch")
    assert waits_otherwise(seen, changed(seen, **now)) == otherwise


def test_it_is_seen_where_the_evidence_of_the_end_is_gone() -> None:
    """A cancelled name that never had a job, say: what was stored with it is all that there is."""
    bare = changed(FAILED, main_exit=None, container="", cancelled=True)
    reported = record(bare)
    reported.outcome = classify(bare)
    reported.accepted = {"id"}
    reported.observe(changed(bare, resent=1, published="cancelled"), 1.0)
    assert (reported.seen.resent, reported.seen.published) == (1, "cancelled")
    assert reported.outcome is None
    assert not reported.accepted
