"""runner.tracker.ledger.record: what a later observation of a job may change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.planning import as_it_ended, explain_in
from runner.tracker.ledger.record import Record, first_record, merged

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


def test_why_no_node_took_it_is_history_once_a_node_has_the_pod() -> None:
    """Else a volume that cannot be mounted would be reported as a lack of capacity."""
    assert later(seen(unschedulable="0/3 nodes", instance="a"), instance="a", scheduled=True).unschedulable == ""
    assert later(seen(unschedulable="0/3 nodes", instance="a"), instance="a").unschedulable == "0/3 nodes"
    refused = seen(image_error="not found", instance="a")
    assert later(refused, instance="a", scheduled=True).image_error == "not found"


@pytest.mark.parametrize("fact", ["image_error", "configuration_error"])
def test_why_a_container_could_not_start_is_history_once_one_more_has_started_or_the_pod_is_another(fact: str) -> None:
    refused = seen(**{fact: "no"}, registry_error=True, instance="a", begun=1)
    for after in (later(refused, instance="a", begun=2), later(refused, instance="b")):
        assert (getattr(after, fact), after.registry_error) == ("", False)
    for after in (later(refused, instance="a", begun=1), later(refused, instance="a"), later(refused)):
        assert (getattr(after, fact), after.registry_error) == ("no", True)


def test_a_refusal_to_make_a_pod_is_history_once_there_is_one() -> None:
    assert later(seen(not_admitted="exceeded quota"), instance="a").not_admitted == ""
    assert later(seen(not_admitted="exceeded quota"), scheduled=True).not_admitted == ""  # Nomad names no instance
    assert later(seen(not_admitted="exceeded quota", instance="a"), instance="a").not_admitted == "exceeded quota"
    assert later(seen(not_admitted="exceeded quota"), phase="failed", timed_out=True).not_admitted == "exceeded quota"


@pytest.mark.parametrize(
    ("first", "since"),
    [({}, 10.0), ({"instance": "b"}, 500.0), ({"instance": "a", "pod_delay": 490.0}, 500.0), ({"instance": "a"}, 10.0)],
    ids=["a first pod that comes late", "a pod that replaces another", "a pod seen first", "a pod known as the first"],
)
def test_since_when_it_is_queued(first: dict[str, Any], since: float) -> None:
    """From acceptance, pod or no pod. The loss of its pod starts the wait anew."""
    after = later(seen(**first), queued_since=500.0, pod_delay=490.0, instance="a")
    assert after.queued_since == since
    again = merged(after, seen(queued_since=800.0, pod_delay=490.0, instance="a"))  # this host's clock was set
    assert again.queued_since == since + 300.0


def record(**facts: Any) -> Record:
    return first_record(seen(**facts), 0.0, Backoff(1.0, 30.0))


DEFINITE = {"image_error": "ErrImagePull: not found"}
MAY_PASS = {"image_error": "ImagePullBackOff", "registry_error": True}


def test_a_pause_between_two_tries_does_not_start_the_limit_of_a_definite_error_anew() -> None:
    """Kubelets before 1.32 do not repeat the cause in the pause."""
    known = record(**DEFINITE)
    for now, facts in ((12.0, MAY_PASS), (25.0, DEFINITE), (38.0, MAY_PASS)):
        known.observe(seen(**facts), now)
        assert known.cause_since == (0.0 if facts is DEFINITE else 12.0)


def test_a_definite_error_counts_from_when_it_is_seen_first() -> None:
    known = record(**MAY_PASS)
    known.observe(seen(**DEFINITE), 100.0)
    assert (known.cause, known.cause_since) == ("image", 100.0)


def test_an_error_that_was_overcome_starts_anew() -> None:
    known = record(**DEFINITE)
    known.observe(seen(phase="running"), 10.0)
    known.observe(seen(**DEFINITE), 50.0)
    assert known.cause_since == 50.0


def test_a_job_that_a_queue_holds_does_not_wait_for_a_node() -> None:
    """The Job controller may be too late to note that it was suspended, so its creation seems to begin the wait."""
    record = Record(seen(held="queue batch", queued_since=1000.0), 0.0, BACKOFF)
    record.observe(seen(held="queue batch", queued_since=1000.0), 30.0)
    assert record.waiting(30.0, 1030.0).queued_since == 1000.0
    record.observe(seen(queued_since=1000.0), 35.0)
    assert record.waiting(50.0, 1050.0).queued_since == 1035.0
    record.observe(seen(queued_since=1036.0), 36.5)
    assert record.waiting(50.0, 1050.0).queued_since == 1036.0


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ({"phase": "running"}, "gone"),
        ({"phase": "failed", "disrupted": True}, "gone"),
        ({"phase": "failed", "disrupted": True, "instance": "pod-1"}, "failed"),
        ({"phase": "failed", "main_exit": 3}, "failed"),
        ({"phase": "failed"}, "gone"),
        ({"phase": "failed", "message": "its node says so"}, "failed"),
        ({"phase": "failed", "disrupted": True, "ended_as": FAILED}, "failed"),
    ],
)
def test_a_job_that_is_gone_is_deleted_unless_its_end_was_seen(facts: dict[str, Any], phase: str) -> None:
    record = Record(seen(**facts), 0.0, BACKOFF)
    assert as_it_ended(record).phase == facts["phase"]
    record.gone = True
    assert as_it_ended(record).phase == phase


class TestWhatOnlyAnEventSays:
    """A volume may be mounted after all, and the node goes on to the image: no status of the pod changes."""

    MISSING = seen(configuration_error='secret "artifacts" not found')

    def explained(self) -> Record:
        record = first_record(seen(queued_since=0.0), 0.0, BACKOFF)
        record.explain(self.MISSING)
        record.explained_at = 10.0
        return record

    def test_it_is_read_again(self) -> None:
        record = self.explained()
        assert (record.cause, record.cause_since, explain_in(record, 15.0)) == ("configuration", 0.0, 25.0)
        record.observe(seen(queued_since=0.0), 20.0)
        assert (record.cause, explain_in(record, 20.0)) == ("configuration", 20.0)

    def test_it_may_be_history(self) -> None:
        record = self.explained()
        record.explain(seen(delay="NetworkNotReady: no"))
        assert (record.cause, record.seen.configuration_error) == ("", "")
        assert record.seen.delay == "NetworkNotReady: no"

    def test_what_the_pod_shows_itself_is_not_read_again(self) -> None:
        record = self.explained()
        record.observe(seen(configuration_error="coat: CreateContainerError: no", queued_since=0.0), 20.0)
        assert explain_in(record, 20.0) is None

    def test_it_may_pass_with_time(self) -> None:
        record = first_record(seen(), 0.0, BACKOFF)
        record.explain(seen(configuration_error="Multi-Attach error", registry_error=True))
        assert record.cause == "registry"


def test_what_delays_its_start_is_as_it_was_read_last() -> None:
    record = first_record(seen(delay="the init container p, which is not the job's, runs"), 0.0, BACKOFF)
    record.observe(seen(), 1.0)
    assert record.seen.delay == ""


def test_an_error_that_was_seen_while_the_events_were_read_may_still_pass() -> None:
    record = first_record(seen(queued_since=0.0), 0.0, BACKOFF)
    record.observe(seen(queued_since=0.0, image_error="503 Service Unavailable", registry_error=True), 5.0)
    record.explain(seen(queued_since=0.0))
    assert (record.seen.image_error, record.seen.registry_error) == ("503 Service Unavailable", True)
    record.explain(seen(queued_since=0.0, image_error="not found"))
    assert (record.seen.image_error, record.seen.registry_error) == ("not found", False)


def test_a_refusal_to_make_a_pod_is_history_if_one_was_made_while_the_events_were_read() -> None:
    record = first_record(seen(queued_since=0.0), 0.0, BACKOFF)
    record.observe(seen(queued_since=0.0, instance="a-1"), 5.0)
    record.explain(seen(queued_since=0.0, not_admitted="exceeded quota"))
    assert (record.seen.not_admitted, record.cause) == ("", "")
    record.explain(seen(queued_since=0.0, instance="a-1", not_admitted="exceeded quota"))
    assert record.seen.not_admitted == "exceeded quota"
