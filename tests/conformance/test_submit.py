"""submit: exactly one job of each name, however many instances submit it and however often."""

from __future__ import annotations

import pytest

from runner.errors import Conflict, Rejected, Timeout
from runner.jobs import Secret, TokenClaims
from tests.conformance.clusters import PATIENCE, Cluster
from tests.harness.deadlines import within


def test_the_first_submit_creates_the_job(cluster: Cluster) -> None:
    job = cluster.job()
    assert cluster.submit(job) == "created"
    assert cluster.seen(job.name) is not None


def test_a_repeat_finds_the_job_and_changes_nothing(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    assert [cluster.submit(job) for _ in range(3)] == ["exists"] * 3
    assert cluster.seen(job.name) is not None


def test_a_repeat_through_another_instance_finds_the_job(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    assert cluster.submit(job, cluster.another()) == "exists"


@pytest.mark.needs("ends")
def test_a_repeat_after_the_end_finds_the_job(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    cluster.end(job)
    assert cluster.submit(job) == "exists"


def test_a_different_request_of_the_same_name_is_a_conflict_that_asks_for_a_new_run_id(cluster: Cluster) -> None:
    job = cluster.job(fingerprint="one")
    cluster.submit(job)
    with pytest.raises(Conflict, match="new run_id") as caught:
        cluster.submit(cluster.job(name=job.name, fingerprint="two"), cluster.another())
    assert job.name in caught.value.detail
    seen = cluster.seen(job.name)
    assert seen is not None
    assert seen.fingerprint == "one"


def test_a_submit_with_a_past_deadline_is_a_timeout_and_creates_no_job(cluster: Cluster) -> None:
    job = cluster.job()
    with pytest.raises(Timeout):
        cluster.driver.submit(job, within(-1))
    assert cluster.seen(job.name) is None
    assert cluster.submit(job) == "created"


SECRETS = {
    "TOKEN": TokenClaims(scope="analysis.*", run_id="run", job="job", lifetime=60),
    "PASSWORD": Secret("hunter2-hunter2"),
}


@pytest.mark.needs("remembers")
def test_secrets_are_resolved_once_for_a_job_that_is_submitted_again(cluster: Cluster) -> None:
    job = cluster.job(secrets=SECRETS)
    cluster.submit(job)
    cluster.submit(job)
    cluster.submit(job, cluster.another())
    assert cluster.resolver.asked == {job.name: 1}


@pytest.mark.needs("reads first")
def test_secrets_are_not_resolved_if_no_job_is_created(cluster: Cluster) -> None:
    known, cancelled = cluster.job(fingerprint="one"), cluster.job(secrets=SECRETS)
    cluster.submit(known)
    cluster.cancel(cancelled.name)
    with pytest.raises(Conflict):
        cluster.submit(cluster.job(name=known.name, fingerprint="two", secrets=SECRETS))
    cluster.submit(cancelled)
    assert cluster.resolver.asked == {known.name: 1}


def test_after_secrets_could_not_be_resolved_a_repeat_completes_the_job(cluster: Cluster) -> None:
    job = cluster.job(secrets=SECRETS)
    cluster.resolver.failures = 1
    with pytest.raises(RuntimeError):
        cluster.submit(job)
    assert cluster.submit(job) in ("created", "exists")
    assert cluster.resolver.asked == {job.name: 1}


def test_logs_rejects_a_name_that_is_a_path(cluster: Cluster) -> None:
    job = cluster.job()
    cluster.submit(job)
    for name in (f"../{job.name}", f"./{job.name}", f"{job.name}/", "..", ".", "", "/"):
        with pytest.raises(Rejected):
            cluster.driver.logs(name)


def test_check_succeeds(cluster: Cluster) -> None:
    cluster.driver.check()


def test_the_repr_has_the_driver_s_name_and_no_secret(cluster: Cluster) -> None:
    job = cluster.job(secrets=SECRETS)
    cluster.driver.submit(job, within(PATIENCE))
    assert cluster.driver.name in repr(cluster.driver).lower()
    assert "hunter2" not in repr(cluster.driver)
