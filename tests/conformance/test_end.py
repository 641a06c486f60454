"""end: the tracker ends a job for an outcome, which is stored with the job. What was decided first holds."""

from __future__ import annotations

import pytest

from runner.jobs import JobSpec
from runner.observation import Outcome
from runner.outcomes import classify
from tests.conformance import jobs
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.rounds import listed

pytestmark = pytest.mark.needs("ends")

FIRST = Outcome(reason="image_unavailable", code=5101, hmessage="The image could not be fetched.", err="not found")
SECOND = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room for the job.")


def running(cluster: Cluster) -> JobSpec:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    cluster.running(job)
    return job


def test_a_running_job_is_stopped_and_has_the_outcome_for_which_it_was_ended(cluster: Cluster) -> None:
    job = running(cluster)
    assert cluster.driver.end(listed(cluster.driver, job.name), FIRST)
    assert listed(cluster.another(), job.name).ended_as == FIRST
    stopped = cluster.stopped(job.name)
    assert (stopped.phase, stopped.ended_as, stopped.cancelled, stopped.reported) == ("failed", FIRST, False, False)
    assert classify(stopped) == FIRST


def test_an_ended_job_keeps_its_name(cluster: Cluster) -> None:
    job = running(cluster)
    cluster.driver.end(listed(cluster.driver, job.name), FIRST)
    assert cluster.submit(job) == "exists"
    cluster.stopped(job.name)
    assert cluster.submit(job, cluster.another()) == "exists"


def test_ending_it_twice_keeps_the_first_outcome(cluster: Cluster) -> None:
    job = running(cluster)
    seen = listed(cluster.driver, job.name)
    assert cluster.driver.end(seen, FIRST)
    assert not cluster.another().end(seen, SECOND)
    assert listed(cluster.driver, job.name).ended_as == FIRST
    cluster.stopped(job.name)
    assert not cluster.driver.end(seen, SECOND)
    assert cluster.driver.end(seen, FIRST)
    assert listed(cluster.driver, job.name).ended_as == FIRST


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_job_that_had_ended_by_itself_keeps_its_own_outcome(cluster: Cluster, exit_code: int) -> None:
    job = cluster.job(Program(exit_code=exit_code))
    cluster.submit(job)
    before = cluster.end(job)
    assert not cluster.driver.end(listed(cluster.driver, job.name), SECOND)
    after = classify(listed(cluster.driver, job.name))
    assert after is not None
    assert (after.reason, after.code) == (before.reason, before.code)


def test_a_cancelled_job_stays_cancelled(cluster: Cluster) -> None:
    job = running(cluster)
    seen = listed(cluster.driver, job.name)
    assert cluster.cancel(job.name) == "cancelled"
    assert not cluster.driver.end(seen, SECOND)
    stopped = cluster.stopped(job.name)
    assert (stopped.cancelled, stopped.ended_as) == (True, None)


def test_a_cancel_of_a_job_that_was_ended_confirms_that_outcome(cluster: Cluster) -> None:
    job = running(cluster)
    cluster.driver.end(listed(cluster.driver, job.name), FIRST)
    assert cluster.cancel(job.name) == "exists"
    stopped = cluster.stopped(job.name)
    assert stopped.cancellation == jobs.cancellation(job.name).report
    assert (stopped.cancelled, stopped.ended_as) == (True, FIRST)
    outcome = classify(stopped)
    assert outcome is not None
    assert (outcome.reason, outcome.code) == ("cancelled", 5001)


def test_an_unknown_job_is_not_ended(cluster: Cluster) -> None:
    assert not cluster.driver.end(cluster.unknown(new_name()), FIRST)
