"""find, mark_reported and set_aside: a job is known by its identity, not by its name alone."""

from __future__ import annotations

import pytest

from runner.jobs import JobSpec
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.rounds import listed

pytestmark = pytest.mark.needs("ends")

DONE = Outcome(reason="succeeded", code=0, hmessage="The run finished.")
STOPPED = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room for the job.")


def made_anew(cluster: Cluster) -> tuple[JobSpec, Observation]:
    """A job that runs under a name that an earlier job had, and what was seen of the end of the earlier job."""
    first = cluster.job()
    cluster.submit(first)
    cluster.end(first)
    before = listed(cluster.driver, first.name)
    cluster.lose(first.name)
    job = cluster.job(Program(endless=True), name=first.name)
    assert cluster.submit(job) == "created"
    cluster.running(job)
    return job, before


def test_a_job_made_anew_under_one_name_has_another_identity(cluster: Cluster) -> None:
    job, before = made_anew(cluster)
    after = listed(cluster.driver, job.name)
    assert (before.name, before.place) == (after.name, after.place)
    assert "" != before.identity != after.identity != ""


def test_every_instance_sees_the_same_identity_from_the_submit_to_the_end(cluster: Cluster) -> None:
    job, tombstone = cluster.job(), new_name()
    cluster.submit(job)
    cluster.cancel(tombstone)
    before = listed(cluster.driver, job.name).identity
    cluster.end(job)
    assert {before} == {listed(each, job.name).identity for each in (cluster.driver, cluster.another())}
    assert listed(cluster.another(), tombstone).identity not in ("", before)


def test_a_mark_for_an_earlier_job_of_that_name_marks_nothing(cluster: Cluster) -> None:
    job, before = made_anew(cluster)
    assert not cluster.driver.mark_reported(before, DONE)
    assert not cluster.driver.set_aside(before, DONE)
    after = listed(cluster.driver, job.name)
    assert (after.reported, after.published) == (False, "")


def test_an_end_for_an_earlier_job_of_that_name_ends_nothing(cluster: Cluster) -> None:
    job, before = made_anew(cluster)
    assert not cluster.driver.end(before, STOPPED)
    after = listed(cluster.driver, job.name)
    assert (after.phase, after.ended_as) == ("running", None)


def test_find_gives_the_job_of_that_name_now_or_none(cluster: Cluster) -> None:
    assert cluster.driver.find(cluster.unknown(new_name())) is None
    job, before = made_anew(cluster)
    found = cluster.driver.find(before)
    assert found is not None
    assert found.identity == listed(cluster.driver, job.name).identity != before.identity
    cluster.lose(job.name)
    assert cluster.driver.find(before) is None


def test_find_gives_the_evidence_of_an_end_also_after_its_report(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="no such rule\n", exit_code=3))
    cluster.submit(job)
    before = cluster.end(job)
    ended = listed(cluster.driver, job.name)
    for _ in range(2):
        found = cluster.another().find(ended)
        assert found is not None
        assert (found.identity, found.main_exit, found.container) == (ended.identity, 3, "marvin")
        assert classify(found) == before
        assert cluster.driver.mark_reported(ended, before)


def test_a_mark_of_an_end_that_was_seen_before_a_cancel_leaves_the_cancel_pending(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    before = listed(cluster.driver, job.name)
    cluster.cancel(job.name)
    assert not cluster.driver.mark_reported(before, DONE)
    pending = listed(cluster.driver, job.name)
    assert (pending.cancelled, pending.reported) == (True, False)
    assert cluster.driver.mark_reported(pending, DONE)
    assert listed(cluster.driver, job.name).reported


def test_a_cancelled_job_is_not_marked_by_a_tracker_that_saw_no_cancellation(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    before = cluster.running(job)
    cluster.cancel(job.name)
    assert not cluster.driver.mark_reported(before, STOPPED)
    stopped = cluster.stopped(job.name)
    assert (stopped.cancelled, stopped.reported, stopped.published) == (True, False, "")


def test_a_result_that_is_set_aside_is_reported_and_not_published(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    assert cluster.driver.set_aside(listed(cluster.driver, job.name), DONE)
    seen = listed(cluster.another(), job.name)
    assert (seen.reported, seen.published) == (True, "")
    assert cluster.submit(job) == "exists"


def test_without_events_there_is_nothing_to_explain(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    seen = cluster.running(job)
    assert cluster.driver.explain(seen) == seen
