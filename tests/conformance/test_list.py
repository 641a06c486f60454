"""list, logs and mark_reported: every end that is not reported yet is listed, with its evidence."""

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
from tests.harness.processes import eventually
from tests.harness.rounds import listed, observed

DONE = Outcome(reason="succeeded", code=0, hmessage="The run finished.")


def test_a_job_is_listed_with_all_fields_that_a_report_needs(cluster: Cluster) -> None:
    began, job = time.time(), cluster.job(fingerprint="f-17")
    cluster.submit(job)
    seen = cluster.seen(job.name)
    assert seen is not None
    assert (seen.driver, seen.pool, seen.fingerprint) == (cluster.driver.name, POOL, "f-17")
    assert seen.report == job.report
    assert began - 2 <= seen.created <= time.time() + 2
    assert (seen.cancelled, seen.cancellation, seen.reported) == (False, None, False)


def test_a_job_keeps_the_trace_of_its_request(cluster: Cluster) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    job = cluster.job()
    job = msgspec.structs.replace(job, report=msgspec.structs.replace(job.report, traceparent=given))
    cluster.submit(job)
    seen = cluster.seen(job.name)
    assert seen is not None
    assert seen.report is not None
    assert seen.report.traceparent == given


def test_another_instance_lists_the_same(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    (seen,) = [each for each in observed(cluster.another()) if each.name == job.name]
    assert (seen.fingerprint, seen.report) == (job.fingerprint, job.report)


def test_no_secret_is_listed(cluster: Cluster) -> None:
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
def test_a_job_with_exit_code_0_has_succeeded(cluster: Cluster) -> None:
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
def test_a_failed_main_container_is_analyzer_failed_with_its_exit_code(cluster: Cluster, code: int) -> None:
    job = cluster.job(Program(exit_code=code, prints="no such rule\n"))
    cluster.submit(job)
    outcome = cluster.end(job)
    assert outcome.reason == "analyzer_failed"
    assert f"exit code {code}" in outcome.err
    assert "no such rule" in cluster.driver.logs(job.name, listed(cluster.driver, job.name).container)


@pytest.mark.needs("ends")
def test_logs_gives_the_last_lines_of_the_main_container(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="one\ntwo\nthree\n"))
    cluster.submit(job)
    cluster.end(job)
    assert cluster.driver.logs(job.name) == "one\ntwo\nthree\n"
    assert cluster.driver.logs(job.name, "marvin", 2) == "two\nthree\n"
    assert cluster.another().logs(job.name, lines=1) == "three\n"


def test_logs_of_an_unknown_job_or_container_is_rejected_with_its_name(cluster: Cluster) -> None:
    job, unknown = cluster.job(Program(endless=True)), new_name()
    cluster.submit(job)
    cluster.running(job)  # before that, a cluster may have no containers to compare the name with
    with pytest.raises(Rejected, match=unknown):
        cluster.driver.logs(unknown)
    with pytest.raises(Rejected, match="sidecar"):
        cluster.driver.logs(job.name, "sidecar")


def test_logs_of_a_tombstone_are_empty_or_refused(cluster: Cluster) -> None:
    name = new_name()
    cluster.cancel(name)
    text = ""
    with suppress(Rejected):
        text = cluster.driver.logs(name)
    assert text == ""


@pytest.mark.needs("ends")
def test_a_reported_job_is_marked_for_every_instance(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    ended = listed(cluster.driver, job.name)
    assert ended.published == ""
    assert cluster.driver.mark_reported(ended, DONE)
    assert cluster.driver.mark_reported(ended, DONE)
    marked = listed(cluster.another(), job.name)
    assert (marked.reported, marked.published) == (True, DONE.reason)


@pytest.mark.needs("ends")
def test_a_reported_job_keeps_its_name(cluster: Cluster) -> None:
    job, cancelled = cluster.job(), new_name()
    cluster.submit(job)
    cluster.end(job)
    cluster.cancel(cancelled)
    cluster.ended(cancelled)
    for name in (job.name, cancelled):
        assert cluster.driver.mark_reported(listed(cluster.driver, name), DONE)
    assert cluster.submit(job) == "exists"
    assert cluster.submit(cluster.job(name=cancelled)) == "cancelled"


def test_an_unknown_job_is_not_marked(cluster: Cluster) -> None:
    unknown = cluster.unknown(new_name())
    assert not cluster.driver.mark_reported(unknown, DONE)
    assert not cluster.driver.set_aside(unknown, DONE)


def test_no_job_is_removed_before_its_retention(cluster: Cluster) -> None:
    waiting, tombstone = cluster.job(Program(endless=True)), new_name()
    cluster.submit(waiting)
    cluster.cancel(tombstone)
    cluster.driver.reconcile(Retention(reported=3600, orphaned=3600))
    assert cluster.submit(waiting) == "exists"
    assert cluster.submit(cluster.job(name=tombstone)) == "cancelled"


def test_a_waiting_or_running_job_is_never_removed(cluster: Cluster) -> None:
    job = cluster.job(Program(endless=True))
    cluster.submit(job)
    assert cluster.driver.reconcile(Retention(reported=0, orphaned=0)) == 0
    assert cluster.seen(job.name) is not None


@pytest.mark.needs("collects")
def test_a_reported_job_is_removed_after_the_retention_and_an_unreported_one_is_kept(cluster: Cluster) -> None:
    reported, pending = cluster.job(), cluster.job()
    for job in (reported, pending):
        cluster.submit(job)
        cluster.end(job)
    cluster.driver.mark_reported(listed(cluster.driver, reported.name), DONE)
    assert _removed(cluster, retention=0, orphan_age=3600) == 1
    assert cluster.seen(reported.name) is None
    assert cluster.seen(pending.name) is not None
    assert cluster.submit(reported) == "created"


@pytest.mark.needs("collects")
def test_an_unreported_job_is_removed_after_orphan_age(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    assert _removed(cluster, retention=3600, orphan_age=0) == 1
    assert cluster.seen(job.name) is None


def _removed(cluster: Cluster, *, retention: float, orphan_age: float) -> int:
    """How many jobs the first reconcile that removes any removes: a shim may still hold the lock of an ended job."""
    driver = cluster.another()
    return eventually(lambda: driver.reconcile(Retention(retention, orphan_age)), "a job is removed")
