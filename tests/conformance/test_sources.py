"""sources: together they show every job that is not reported, each of its changes, and that it has left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runner.observation import Observation
from runner.outcomes import classify
from tests.conformance import jobs
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.processes import eventually
from tests.harness.rounds import RecordingView, following, listed

pytestmark = pytest.mark.needs("ends")


@pytest.fixture
def view(cluster: Cluster) -> Iterator[RecordingView]:
    """What another process follows. Its process shares the driver only where nothing else can see the jobs."""
    with following(cluster.another()) as made:
        yield made


def shown(cluster: Cluster, view: RecordingView, name: str, when: Callable[[Observation], bool]) -> Observation:
    """The job of that name, once the sources show it so."""
    return eventually(
        lambda: seen if (seen := view.of(name)) and when(seen) else None, f"{name} is shown", cluster.end_seconds
    )


def gone(cluster: Cluster, view: RecordingView, name: str) -> Observation:
    """The last observation of a job, once the sources do not show it any more."""
    eventually(lambda: view.of(name) is None, f"{name} has left the view", cluster.end_seconds)
    return [each for each in view.gone if each.name == name][-1]


def test_a_job_is_shown_after_its_submit_and_when_it_runs(cluster: Cluster, view: RecordingView) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    seen = shown(cluster, view, job.name, lambda _: True)
    assert (seen.report, seen.fingerprint) == (job.report, job.fingerprint)
    assert seen.identity == listed(cluster.driver, job.name).identity
    cluster.running(job)
    assert shown(cluster, view, job.name, lambda seen: seen.phase == "running").ended is None


def test_an_end_is_shown_until_it_is_reported(cluster: Cluster, view: RecordingView) -> None:
    job = cluster.job(Program(exit_code=3))
    cluster.submit(job)
    cluster.carry_on(job)
    seen = shown(cluster, view, job.name, lambda seen: classify(seen) is not None)
    outcome = classify(seen)
    assert outcome is not None
    assert outcome.reason == "analyzer_failed"
    assert cluster.driver.mark_reported(seen, outcome)
    assert gone(cluster, view, job.name).identity == seen.identity


def test_a_tombstone_is_shown(cluster: Cluster, view: RecordingView) -> None:
    name = new_name()
    cluster.cancel(name)
    seen = shown(cluster, view, name, lambda seen: classify(seen) is not None)
    assert seen.cancellation == jobs.cancellation(name).report


def test_a_cancel_of_a_reported_job_is_shown(cluster: Cluster, view: RecordingView) -> None:
    job = cluster.job()
    cluster.submit(job)
    before = cluster.end(job)
    shown(cluster, view, job.name, lambda seen: classify(seen) is not None)
    cluster.driver.mark_reported(listed(cluster.driver, job.name), before)
    gone(cluster, view, job.name)
    cluster.cancel(job.name)
    seen = shown(cluster, view, job.name, lambda seen: seen.cancelled)
    assert (seen.reported, seen.published, classify(seen) != before) == (False, before.reason, True)


def test_a_deleted_job_leaves_the_view_and_can_come_again(cluster: Cluster, view: RecordingView) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    cluster.running(job)
    first = shown(cluster, view, job.name, lambda seen: seen.phase == "running")
    cluster.lose(job.name)
    assert gone(cluster, view, job.name).identity == first.identity
    cluster.submit(job)
    assert shown(cluster, view, job.name, lambda _: True).identity != first.identity


def test_a_new_source_shows_what_is_pending_and_not_what_is_reported(cluster: Cluster) -> None:
    reported, pending = cluster.job(), cluster.job()
    for job in (reported, pending):
        cluster.submit(job)
        cluster.end(job)
    seen = listed(cluster.driver, reported.name)
    outcome = classify(seen)
    assert outcome is not None
    cluster.driver.mark_reported(seen, outcome)
    with following(cluster.another()) as view:
        shown(cluster, view, pending.name, lambda seen: classify(seen) is not None)
        assert view.of(reported.name) is None
