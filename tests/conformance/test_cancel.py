"""cancel: a cancelled check stays cancelled, whether the cancel comes before, during or after it, once or often."""

from __future__ import annotations

import time

import pytest

from runner.errors import Timeout
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance import jobs
from tests.conformance.clusters import PATIENCE, Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.deadlines import within
from tests.harness.rounds import listed

ENDLESS = Program(endless=True)
DONE = Outcome(reason="cancelled", code=5001, hmessage="The run had already ended: succeeded.")


def test_a_cancel_before_the_submit_takes_the_name_for_good(cluster: Cluster) -> None:
    job = cluster.job()
    assert cluster.cancel(job.name) == "cancelled"
    assert cluster.submit(job) == "cancelled"
    assert cluster.submit(job, cluster.another()) == "cancelled"


def test_after_a_cancel_before_the_submit_any_request_of_that_name_is_cancelled(cluster: Cluster) -> None:
    name = new_name()
    cluster.cancel(name)
    assert [cluster.submit(cluster.job(name=name, fingerprint=each)) for each in ("one", "two")] == ["cancelled"] * 2


def test_a_job_cancelled_before_its_submit_never_runs(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="it ran"))
    cluster.cancel(job.name)
    cluster.submit(job)
    seen = cluster.seen(job.name)
    assert seen is not None
    assert seen.cancelled
    assert seen.main_exit is None
    assert "it ran" not in seen.log_tail


def test_a_tombstone_is_listed_with_the_report_of_its_cancellation(cluster: Cluster) -> None:
    name, began = new_name(), time.time()
    cluster.cancel(name, run_id="cancel-7")
    seen = _ended(cluster, name)
    assert seen.cancellation == jobs.cancellation(name, "cancel-7").report
    assert seen.report is None
    assert not seen.reported
    assert began - 2 <= seen.created <= time.time() + 2
    outcome = classify(seen)
    assert outcome is not None
    assert outcome.reason == "cancelled"


def test_a_cancel_without_tombstone_does_nothing_if_there_is_no_job(cluster: Cluster) -> None:
    job = cluster.job()
    assert cluster.cancel(job.name, tombstone=False) is None
    assert cluster.seen(job.name) is None
    assert cluster.submit(job) == "created"


def test_a_waiting_or_running_job_is_stopped_and_ends_as_cancelled(cluster: Cluster) -> None:
    job = cluster.job(ENDLESS)
    cluster.submit(job)
    assert cluster.cancel(job.name, tombstone=False, run_id="cancel-8") == "cancelled"
    seen = _ended(cluster, job.name)
    assert seen.cancellation == jobs.cancellation(job.name, "cancel-8").report
    assert seen.report == job.report


def test_a_tombstone_does_not_count_as_a_job(cluster: Cluster) -> None:
    """If it did, a repeat would not complete a cancel that could write only some of its tombstones."""
    name = new_name()
    cluster.cancel(name)
    assert cluster.cancel(name, tombstone=False) is None
    assert cluster.cancel(name) == "cancelled"
    assert cluster.submit(cluster.job(name=name)) == "cancelled"


@pytest.mark.needs("ends")
def test_a_running_job_is_stopped_and_ends_as_cancelled(cluster: Cluster) -> None:
    job = cluster.job(ENDLESS)
    cluster.submit(job)
    cluster.running(job)
    assert cluster.cancel(job.name) == "cancelled"
    assert cluster.end(job).reason == "cancelled"


@pytest.mark.needs("ends")
def test_a_stopped_job_stays_cancelled_whatever_is_submitted(cluster: Cluster) -> None:
    job = cluster.job(ENDLESS)
    cluster.submit(job)
    cluster.running(job)
    cluster.cancel(job.name)
    assert cluster.submit(job) == "cancelled"
    assert cluster.submit(cluster.job(name=job.name, fingerprint="another"), cluster.another()) == "cancelled"
    assert cluster.end(job).reason == "cancelled"
    assert cluster.submit(job) == "cancelled"


@pytest.mark.needs("ends")
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_cancel_of_a_job_that_has_ended_is_confirmed_with_the_outcome_that_it_had(
    cluster: Cluster, exit_code: int, marked: bool
) -> None:
    job = cluster.job(Program(exit_code=exit_code))
    cluster.submit(job)
    before = cluster.end(job)
    assert before.reason == ("analyzer_failed" if exit_code else "succeeded")
    if marked:
        cluster.driver.mark_reported(listed(cluster.driver, job.name), before)
    assert cluster.cancel(job.name, run_id="cancel-9") == "exists"
    seen = listed(cluster.another(), job.name)
    assert (seen.cancelled, seen.cancellation) == (True, jobs.cancellation(job.name, "cancel-9").report)
    assert seen.ended_as is not None
    assert (seen.ended_as.reason, seen.ended_as.code) == (before.reason, before.code)
    assert (seen.reported, seen.published) == (False, before.reason if marked else "")
    assert seen.phase == ("failed" if exit_code else "succeeded")
    outcome = classify(seen)
    assert outcome is not None
    assert (outcome.reason, outcome.code) == ("cancelled", 5001)


@pytest.mark.needs("ends")
def test_a_repeated_cancel_of_a_job_that_has_ended_changes_nothing(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    ended = cluster.end(job)
    cluster.driver.mark_reported(listed(cluster.driver, job.name), ended)
    assert cluster.cancel(job.name) == "exists"
    before = listed(cluster.driver, job.name)
    assert cluster.cancel(job.name) == "exists"
    assert listed(cluster.driver, job.name) == before
    assert cluster.driver.mark_reported(before, DONE)
    reported = listed(cluster.driver, job.name)
    assert (reported.reported, reported.published) == (True, ended.reason)
    assert cluster.cancel(job.name) == "exists"
    assert listed(cluster.driver, job.name) == reported
    assert cluster.submit(job) == "exists"


@pytest.mark.parametrize("times", [2, 5])
def test_repeated_cancels_leave_one_cancelled_job(cluster: Cluster, times: int) -> None:
    submitted, never_submitted = cluster.job(ENDLESS), cluster.job()
    cluster.submit(submitted)
    for job in (submitted, never_submitted):
        assert [cluster.cancel(job.name, run_id=f"cancel-{number}") for number in range(times)] == ["cancelled"] * times
        assert _ended(cluster, job.name).cancelled


def test_a_cancel_with_a_past_deadline_is_a_timeout_and_cancels_nothing(cluster: Cluster) -> None:
    job = cluster.job()
    for name in (job.name, new_name()):
        with pytest.raises(Timeout):
            cluster.driver.cancel(jobs.cancellation(name), within(-1), tombstone=True)
        assert cluster.seen(name) is None
    assert cluster.submit(job) == "created"


def test_a_new_instance_knows_of_the_cancellation(cluster: Cluster) -> None:
    name = new_name()
    cluster.cancel(name)
    other = cluster.another()
    assert other.cancel(jobs.cancellation(name), within(PATIENCE), tombstone=True) == "cancelled"
    assert other.submit(cluster.job(name=name), within(PATIENCE)) == "cancelled"


def _ended(cluster: Cluster, name: str) -> Observation:
    """The job of that name, once it has ended; it must be cancelled."""
    seen = cluster.ended(name)
    assert seen.cancelled
    assert seen.phase == "failed"
    assert seen.ended is not None
    assert seen.created <= seen.ended + 1
    return seen
