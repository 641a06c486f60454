"""list and due read and change nothing, whatever state the jobs are in; only reconcile acts, as due says."""

from __future__ import annotations

import time

import pytest

from runner.drivers.driver import Due, Retention
from runner.outcomes import classify
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.processes import eventually
from tests.harness.rounds import listed, observed

KEPT = Retention(reported=86400, orphaned=86400)


@pytest.mark.needs("ends")
def test_listing_changes_nothing(cluster: Cluster) -> None:
    ended, endless, cancelled = cluster.job(), cluster.job(Program(endless=True)), new_name()
    for job in (ended, endless):
        cluster.submit(job)
    assert cluster.cancel(cancelled) == "cancelled"
    cluster.end(ended)
    cluster.running(endless)
    before = eventually(lambda: _at_rest(cluster), "the cluster is at rest")

    for _ in range(3):
        names = [each.name for each in cluster.another().list()]

    assert cluster.state() == before
    assert {ended.name, endless.name, cancelled} <= set(names)


def _at_rest(cluster: Cluster) -> object:
    """The state, if it did not change for half a second; else None. A shim may still remove a finished job's files."""
    before = cluster.state()
    time.sleep(0.5)
    return before if cluster.state() == before else None


@pytest.mark.needs("ends")
def test_two_listings_give_the_same_evidence_of_an_end(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="no such rule\n", exit_code=3))
    cluster.submit(job)
    cluster.end(job)

    (first,) = [each for each in cluster.another().list() if each.name == job.name]
    (second,) = [each for each in cluster.another().list() if each.name == job.name]

    assert first == second
    assert (first.phase, first.main_exit) == ("failed", 3)


@pytest.mark.needs("ends")
def test_reconcile_does_not_change_a_running_job(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    before = cluster.running(job)

    (after,) = [each for each in observed(cluster.driver) if each.name == job.name]

    assert (after.phase, after.ended, after.fingerprint) == ("running", None, before.fingerprint)


def due(cluster: Cluster, name: str, expired: Retention = KEPT) -> list[str]:
    """What is due of the job."""
    return [each.action for each in cluster.another().due(expired) if each.name == name]


@pytest.mark.needs("ends")
def test_nothing_is_due_of_jobs_that_are_as_they_should_be(cluster: Cluster) -> None:
    ended, endless, cancelled = cluster.job(), cluster.job(Program(endless=True)), cluster.job()
    for job in (ended, endless):
        cluster.submit(job)
    cluster.cancel(cancelled.name)
    cluster.end(ended)
    cluster.running(endless)
    cluster.ended(cancelled.name)
    listed(cluster.driver, ended.name)
    assert [due(cluster, each.name) for each in (ended, endless, cancelled)] == [[], [], []]


@pytest.mark.needs("collects")
def test_a_removal_is_due_after_the_retention_and_is_left_to_reconcile(cluster: Cluster) -> None:
    job, expired = cluster.job(Program(exit_code=3)), Retention(reported=0, orphaned=86400)
    cluster.submit(job)
    cluster.end(job)
    seen = listed(cluster.driver, job.name)
    outcome = classify(seen)
    assert outcome is not None
    assert due(cluster, job.name, expired) == []
    assert cluster.driver.mark_reported(seen, outcome)
    before = cluster.state()

    found = list(cluster.another().due(expired))

    assert found == [Due(job.name, cluster.place, "remove", "it has been kept for long enough")]
    assert cluster.state() == before
    assert cluster.driver.reconcile(expired) == 1
    assert due(cluster, job.name, expired) == []
