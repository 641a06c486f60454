"""list, logs and mark_reported: every end that is not reported yet can be found again, with its evidence."""

from __future__ import annotations

import time
from contextlib import suppress

import msgspec
import pytest

from runner.drivers.driver import Retention
from runner.errors import Rejected
from runner.jobs import Secret
from runner.observation import Outcome
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import POOL, Program, new_name
from tests.processes import eventually
from tests.rounds import observed

DONE = Outcome(reason="succeeded", code=0, hmessage="The run finished.")


def test_a_job_is_listed_with_all_that_a_report_needs(cluster: Cluster) -> None:
    began, job = time.time(), cluster.job(fingerprint="f-17")
    cluster.submit(job)
    seen = cluster.seen(job.name)
    assert seen is not None
    assert (seen.driver, seen.pool, seen.fingerprint) == (cluster.driver.name, POOL, "f-17")
    assert seen.report == job.report
    assert began - 2 <= seen.created <= time.time() + 2
    assert (seen.cancelled, seen.cancellation, seen.reported) == (False, None, False)


def test_another_instance_lists_the_same(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    (seen,) = [each for each in observed(cluster.another()) if each.name == job.name]
    assert (seen.fingerprint, seen.report) == (job.fingerprint, job.report)


def test_no_secret_is_in_what_is_listed(cluster: Cluster) -> None:
    job = cluster.job(secrets={"PASSWORD": Secret("hunter2-hunter2")})
    cluster.submit(job)
    assert "hunter2" not in repr(cluster.seen(job.name))
    assert b"hunter2" not in msgspec.json.encode(cluster.seen(job.name))


@pytest.mark.needs("ends")
def test_a_job_that_runs_has_not_ended(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    seen = cluster.running(job)
    assert (seen.ended, seen.main_exit) == (None, None)


@pytest.mark.needs("ends")
def test_a_job_that_ended_well_has_succeeded(cluster: Cluster) -> None:
    began, job = time.time(), cluster.job()
    cluster.submit(job)
    assert cluster.end(job).reason == "succeeded"
    seen = cluster.seen(job.name)
    assert seen is not None
    assert seen.ended is not None
    assert began - 2 <= seen.created <= seen.ended + 1 <= time.time() + 3
    assert seen.report == job.report


@pytest.mark.needs("ends")
@pytest.mark.parametrize("code", [1, 3, 125])
def test_a_main_container_that_failed_is_the_analyzer_s_failure_with_its_exit_code(cluster: Cluster, code: int) -> None:
    job = cluster.job(Program(exit_code=code, prints="no such rule\n"))
    cluster.submit(job)
    outcome = cluster.end(job)
    assert outcome.reason == "analyzer_failed"
    assert f"exit code {code}" in outcome.err
    assert "no such rule" in outcome.err


@pytest.mark.needs("ends")
def test_logs_are_the_last_lines_of_the_main_container(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="one\ntwo\nthree\n"))
    cluster.submit(job)
    cluster.end(job)
    assert cluster.driver.logs(job.name) == "one\ntwo\nthree\n"
    assert cluster.driver.logs(job.name, "marvin", 2) == "two\nthree\n"
    assert cluster.another().logs(job.name, lines=1) == "three\n"


def test_logs_of_what_is_not_there_are_refused_by_name(cluster: Cluster) -> None:
    job, unknown = cluster.job(Program(endless=True)), new_name()
    cluster.submit(job)
    cluster.running(job)  # before that, nothing is there of which something could be missing
    with pytest.raises(Rejected, match=unknown):
        cluster.driver.logs(unknown)
    with pytest.raises(Rejected, match="sidecar"):
        cluster.driver.logs(job.name, "sidecar")


def test_logs_of_a_tombstone_are_empty_or_refused(cluster: Cluster) -> None:
    name = new_name()
    cluster.cancel(name)
    said = ""
    with suppress(Rejected):
        said = cluster.driver.logs(name)
    assert said == ""


@pytest.mark.needs("ends")
def test_what_was_reported_is_marked_for_every_instance(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    cluster.driver.mark_reported(job.name, DONE)
    cluster.driver.mark_reported(job.name, DONE)
    (seen,) = [each for each in observed(cluster.another()) if each.name == job.name]
    assert seen.reported


@pytest.mark.needs("ends")
def test_what_was_reported_still_keeps_its_name(cluster: Cluster) -> None:
    job, cancelled = cluster.job(), new_name()
    cluster.submit(job)
    cluster.end(job)
    cluster.cancel(cancelled)
    cluster.ended(cancelled)
    for name in (job.name, cancelled):
        cluster.driver.mark_reported(name, DONE)
    assert cluster.submit(job) == "exists"
    assert cluster.submit(cluster.job(name=cancelled)) == "cancelled"


def test_to_mark_what_nobody_knows_is_no_error(cluster: Cluster) -> None:
    cluster.driver.mark_reported(new_name(), DONE)


def test_nothing_is_collected_before_its_time(cluster: Cluster) -> None:
    waiting, tombstone = cluster.job(Program(endless=True)), new_name()
    cluster.submit(waiting)
    cluster.cancel(tombstone)
    cluster.driver.reconcile(Retention(reported=3600, orphaned=3600))
    assert cluster.submit(waiting) == "exists"
    assert cluster.submit(cluster.job(name=tombstone)) == "cancelled"


def test_what_waits_or_runs_is_never_collected(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    assert cluster.driver.reconcile(Retention(reported=0, orphaned=0)) == 0
    assert cluster.seen(job.name) is not None


@pytest.mark.needs("collects")
def test_what_was_reported_goes_after_the_retention_and_what_was_not_stays(cluster: Cluster) -> None:
    told, owed = cluster.job(), cluster.job()
    for job in (told, owed):
        cluster.submit(job)
        cluster.end(job)
    cluster.driver.mark_reported(told.name, DONE)
    assert _collected(cluster, retention=0, orphan_age=3600) == 1
    assert cluster.seen(told.name) is None
    assert cluster.seen(owed.name) is not None
    assert cluster.submit(told) == "created"


@pytest.mark.needs("collects")
def test_what_nobody_ever_reported_goes_after_the_age_of_orphans(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    assert _collected(cluster, retention=3600, orphan_age=0) == 1
    assert cluster.seen(job.name) is None


def _collected(cluster: Cluster, *, retention: float, orphan_age: float) -> int:
    """How many jobs go, once some do: who has just ended a job may still have it in hand."""
    driver = cluster.another()
    return eventually(lambda: driver.reconcile(Retention(retention, orphan_age)), "something is collected")
