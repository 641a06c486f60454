"""runner.tracker.ledger.record: what a later observation of a job may change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.record import first_record, merged

CONFIRMATION = Report(request_type="cancel_check_run", run_id="c", path="/cancelled", task="t", scope="s")
BACKOFF = Backoff(1.0, 30.0, lambda: 0.5)
FAILED = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")


def seen(**facts: Any) -> Observation:
    return Observation(**{"name": "j", "driver": "d", "pool": "p", "phase": "waiting", "created": 0.0, **facts})


def later(first: Observation, **facts: Any) -> Observation:
    return merged(first, seen(**facts))


def test_a_cancel_is_never_taken_back() -> None:
    """A watch may pass on a change from before the cancel."""
    after = later(seen(cancelled=True, cancellation=CONFIRMATION), phase="running")
    assert (after.cancelled, after.cancellation, after.phase) == (True, CONFIRMATION, "running")


def test_an_outcome_that_was_stored_stays() -> None:
    assert later(seen(phase="failed", ended_as=FAILED), phase="failed", main_exit=137).ended_as == FAILED


@pytest.mark.parametrize(
    "less", [{"phase": "waiting"}, {"phase": "running"}, {"phase": "failed"}, {"phase": "failed", "message": "gone"}]
)
def test_an_end_with_its_reason_is_not_forgotten(less: dict[str, Any]) -> None:
    """Its pod is gone, or the list was stale."""
    after = later(seen(phase="failed", main_exit=3), **less)
    assert (after.phase, after.main_exit) == ("failed", 3)


def test_a_cancel_is_seen_although_the_observation_shows_less() -> None:
    after = later(seen(phase="failed", main_exit=3), phase="failed", cancelled=True, cancellation=CONFIRMATION)
    assert (after.main_exit, after.cancelled, after.cancellation) == (3, True, CONFIRMATION)


def test_better_evidence_of_the_end_replaces_poor_evidence() -> None:
    assert later(seen(phase="failed"), phase="failed", main_exit=3).main_exit == 3


@pytest.mark.parametrize("fact", ["image_error", "configuration_error", "not_admitted", "unschedulable"])
def test_why_a_job_waits_is_kept_while_it_waits(fact: str) -> None:
    waiting = seen(**{fact: "why", "registry_error": True})
    assert getattr(later(waiting), fact) == "why"
    assert getattr(later(waiting, phase="failed", timed_out=True), fact) == "why"
    assert getattr(later(waiting, phase="running"), fact) == ""
    assert getattr(later(waiting, phase="failed", main_exit=3), fact) == ""


def test_another_reason_replaces_the_last_one() -> None:
    after = later(seen(unschedulable="0/3 nodes"), image_error="ErrImagePull")
    assert (after.unschedulable, after.image_error) == ("", "ErrImagePull")


def test_the_first_observation_of_an_end_is_taken_as_it_is() -> None:
    ended = seen(phase="failed", main_exit=3, message="m")
    assert merged(seen(phase="running"), ended) == msgspec.structs.replace(ended)


def test_a_job_whose_pod_is_lost_waits_since_it_ran() -> None:
    """Until its pod is replaced, the job shows only when it was made."""
    record = first_record(seen(queued_since=0.0), 0.0, BACKOFF)
    assert record.waiting(50.0, 1050.0).queued_since == 0.0
    record.observe(seen(phase="running"), 100.0)
    record.observe(seen(queued_since=0.0), 900.0)
    assert record.waiting(950.0, 1950.0).queued_since == 1900.0
    record.observe(seen(queued_since=1960.0), 960.0)
    assert record.waiting(970.0, 1970.0).queued_since == 1960.0
