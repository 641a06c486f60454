"""runner.tracker.ledger: which step is due next, whatever is seen while another is in progress."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.config.types import LimitsSection
from runner.jobs import Report
from runner.observation import Observation
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.ledger import Ledger
from runner.tracker.ledger.record import Taken
from tests.harness.clock import ManualClock

RUNS = Observation(name="job-1", driver="d", place="ci", identity="1", pool="p", phase="running", created=0.0)
REFUSED = msgspec.structs.replace(RUNS, phase="waiting", instance="pod-1", image_error="ErrImagePull: not found")
REPORT = Report(request_type="analysis_run", run_id="r", path="/result", task="t", scope="s")
LEFT = msgspec.structs.replace(RUNS, phase="gone", unsettled=True, report=REPORT)


def ledger_at(clock: ManualClock) -> Ledger:
    return Ledger(LimitsSection(), clock, lambda: Backoff(1, 30), lambda: None)


def test_a_job_that_is_seen_again_during_a_find_that_fails_is_found_later() -> None:
    clock = ManualClock()
    ledger = ledger_at(clock)
    ledger.replace("ci", [RUNS])
    ledger.replace("ci", [])
    taken = ledger.take("find")
    assert taken is not None
    ledger.update(RUNS)
    pause = ledger.postpone(taken.record)
    assert ledger.take("find") is None
    clock.advance(pause)
    assert ledger.take("find") is not None


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ({}, True),
        ({"phase": "running", "image_error": ""}, False),
        ({"phase": "failed", "image_error": "", "main_exit": 3}, False),
    ],
    ids=["it still waits", "it has started", "it has ended by itself"],
)
def test_a_job_that_has_gone_on_before_its_end_was_stored_is_not_ended(now: dict[str, Any], ends: bool) -> None:
    """The driver compares the job with what was seen last. So it would end a run that was last seen running."""
    clock = ManualClock()
    ledger = ledger_at(clock)
    ledger.update(REFUSED)
    clock.advance(LimitsSection().image_seconds + 1)
    ledger.judge_due()
    ledger.update(msgspec.structs.replace(REFUSED, **now))
    assert (ledger.take("end") is not None) == ends


@pytest.mark.parametrize("phase", ["waiting", "running"])
def test_a_job_that_a_repeat_has_made_since_is_not_ended_as_deleted(phase: Any) -> None:
    """Its request had not made it, so that end is stored before it is published."""
    ledger = ledger_at(ManualClock())
    ledger.update(LEFT)
    found = ledger.take("find")
    assert found is not None
    ledger.found(found.record, LEFT)
    ledger.update(msgspec.structs.replace(LEFT, phase=phase, unsettled=False))
    assert ledger.take("end") is None
    assert found.record.outcome is None


def test_an_end_that_was_stored_stays_whatever_its_job_does_until_it_is_stopped() -> None:
    ledger = ledger_at(ManualClock())
    ledger.update(LEFT)
    found = ledger.take("find")
    assert found is not None
    ledger.found(found.record, LEFT)
    taken = ledger.take("end")
    assert taken is not None
    ledger.update(msgspec.structs.replace(LEFT, phase="running", ended_as=taken.outcome))
    ledger.did(taken.record, "end")
    assert taken.record.outcome is taken.outcome
    assert taken.record.step == "publish"


def overdue(clock: ManualClock) -> tuple[Ledger, Taken, Observation]:
    """A ledger, the end of its only job, which has waited for too long, and that job."""
    ledger = ledger_at(clock)
    waits = msgspec.structs.replace(RUNS, phase="waiting", unschedulable="0/3 nodes", queued_since=clock.wall())
    ledger.update(waits)
    clock.advance(LimitsSection().queue_seconds + 1)
    ledger.judge_due()
    taken = ledger.take("end")
    assert taken is not None
    return ledger, taken, waits


def is_ended(ledger: Ledger) -> bool:
    """Whether the job is to be ended, as far as its limits say."""
    ledger.judge_due()
    return ledger.take("end") is not None


@pytest.mark.parametrize("not_ended", [False, True])
def test_an_end_that_fails_gives_no_more_time_and_one_that_its_driver_did_not_carry_out_does(not_ended: bool) -> None:
    """Then it has gone on, and may wait for another pod after a run that nobody saw. A request that failed (429, say)
    gives nobody more time."""
    clock = ManualClock()
    ledger, end, waits = overdue(clock)
    ledger.find_again(end.record, undecided=True, not_ended=not_ended)
    found = ledger.take("find")
    assert found is not None
    ledger.found(found.record, waits)
    assert is_ended(ledger) is not not_ended
    clock.advance(LimitsSection().queue_seconds + 1)
    assert is_ended(ledger) is not_ended


def test_an_end_that_is_seen_while_another_step_waits_to_be_repeated_is_published_at_once() -> None:
    """Its driver could not end it at the limit, and a node took it meanwhile."""
    clock = ManualClock()
    ledger, end, waits = overdue(clock)
    for _ in range(5):
        ledger.find_again(end.record, undecided=True)
        clock.advance(60)
        found = ledger.take("find")
        assert found is not None
        ledger.found(found.record, waits)
        assert is_ended(ledger)
    ledger.find_again(end.record, undecided=True)
    for uncertain in (waits, RUNS):
        ledger.update(uncertain)
        assert end.record.step == "find", "it is about to be read anyway"
        assert ledger.next_due(["find"]), "and not at once: nothing may spin"
    ledger.update(msgspec.structs.replace(RUNS, phase="failed", main_exit=3))
    assert (end.record.step, ledger.next_due(["evidence"])) == ("evidence", 0.0)


@pytest.mark.parametrize("ends", ["by itself", "when it is stopped", "never", "as cancelled"])
def test_a_job_that_is_stopped_for_its_deadline_is_decided_upon_once_it_has_ended(ends: str) -> None:
    """It may have been about to succeed, and publishes that itself. On a dead node, it never ends."""
    clock = ManualClock()
    ledger = ledger_at(clock)
    stopped = msgspec.structs.replace(RUNS, phase="failed", timed_out=True, ends_by=clock.wall() + 35)
    ledger.update(stopped)
    record = ledger.records()[0]
    clock.advance(34)
    ledger.judge_due()
    assert (record.outcome, record.step) == (None, None)
    if ends == "by itself":
        ledger.update(msgspec.structs.replace(RUNS, phase="succeeded", main_exit=0))
    elif ends == "when it is stopped":
        ledger.update(msgspec.structs.replace(stopped, ends_by=0.0, main_exit=143))
    elif ends == "as cancelled":
        ledger.update(msgspec.structs.replace(stopped, cancelled=True))
    else:
        clock.advance(2)
        ledger.judge_due()
    assert record.outcome is not None
    expected = {"by itself": "succeeded", "as cancelled": "cancelled"}
    assert record.outcome.reason == expected.get(ends, "timed_out")


def test_a_job_is_judged_at_its_time_whatever_was_tried_before() -> None:
    """Those that were tried wait behind the others where steps are taken. A judgement is due at a time."""
    clock = ManualClock()
    ledger = ledger_at(clock)
    limit = LimitsSection().queue_seconds
    waits = msgspec.structs.replace(RUNS, phase="waiting", unschedulable="0/3 nodes", queued_since=clock.wall())
    ledger.update(waits)
    record = ledger.records()[0]
    ledger.find_again(record, undecided=True)
    assert ledger.take("find") is not None
    ledger.found(record, msgspec.structs.replace(waits, queued_since=clock.wall() + 1))
    for number in range(1, limit // 100 + 1):
        clock.advance(100)
        ledger.update(msgspec.structs.replace(waits, name=f"later-{number}", queued_since=clock.wall()))
        ledger.judge_due()
    clock.advance(2)
    ledger.judge_due()
    taken = ledger.take("end")
    assert taken is not None
    assert taken.record is record


def test_a_mark_that_is_refused_again_and_again_does_not_spin() -> None:
    """Whatever the reason: between two tries, the job is read, and its result, which atlas has, counts as published."""
    clock = ManualClock()
    ledger = ledger_at(clock)
    report = Report(request_type="analysis_run", run_id="r", path="/results", task="t", scope="s")
    ended = msgspec.structs.replace(RUNS, phase="failed", main_exit=3, log_tail="the log", report=report)
    ledger.update(ended)
    pauses = []
    for number in range(1, 4):
        published = ledger.take("publish")
        assert published is not None
        ledger.did(published.record, "publish")
        marked = ledger.take("mark")
        assert marked is not None
        ledger.find_again(marked.record)
        pauses.append(ledger.next_due(["find"]))
        clock.advance(5)
        found = ledger.take("find")
        assert found is not None
        ledger.found(found.record, msgspec.structs.replace(ended, resent=number))
    assert pauses[0] == 0
    assert all(pause is not None and pause > 0.4 for pause in pauses[1:])
