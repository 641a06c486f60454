"""list reads and changes nothing, whatever state the jobs are in; only reconcile acts."""

from __future__ import annotations

import time

import pytest

from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.processes import eventually
from tests.harness.rounds import observed


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
