"""Many concurrent calls, through several instances."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from runner.drivers.driver import Driver
from runner.errors import Conflict
from runner.jobs import JobSpec, State
from runner.outcomes import classify
from tests.conformance import jobs
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program
from tests.harness.deadlines import within
from tests.harness.rounds import observed

PATIENCE = 60.0
THREADS = 24


def test_a_thousand_submits_of_a_hundred_names_make_a_hundred_jobs(cluster: Cluster) -> None:
    wanted = [cluster.job() for _ in range(100)]
    # Each thread keeps a connection for each driver, and Nomad accepts 100 connections from one host.
    drivers = [cluster.driver, *(cluster.another() for _ in range(2))]
    submits = [(job, drivers[index % 3]) for index, job in enumerate(wanted * 10)]
    random.Random(7).shuffle(submits)
    with ThreadPoolExecutor(THREADS) as pool:
        states = list(pool.map(lambda each: each[1].submit(each[0], within(PATIENCE)), submits))
    assert Counter(states) == {"created": 100, "exists": 900}
    names = [seen.name for seen in observed(cluster.driver)]
    assert sorted(name for name in names if name in {job.name for job in wanted}) == sorted(job.name for job in wanted)
    # Two submits that find no job at the same instant may both resolve secrets; those of one of them are used.
    assert cluster.resolver.asked.keys() == {job.name for job in wanted}


def test_a_repeat_of_a_request_of_many_jobs_creates_what_is_missing(cluster: Cluster) -> None:
    """It reads what exists first: see Driver.submitter."""
    wanted = [cluster.job() for _ in range(12)]
    made, cancelled = wanted[:5], wanted[7]
    assert _submitted(cluster.driver, made) == ["created"] * 5
    cluster.cancel(cancelled.name)
    expected = ["exists"] * 5 + ["cancelled" if job is cancelled else "created" for job in wanted[5:]]
    assert _submitted(cluster.another(), wanted) == expected
    assert _submitted(cluster.driver, wanted) == [state.replace("created", "exists") for state in expected]
    names = Counter(seen.name for seen in observed(cluster.driver))
    assert [names[job.name] for job in wanted] == [1] * len(wanted)
    other = cluster.job(name=made[0].name, fingerprint="other")
    with pytest.raises(Conflict):
        _submitted(cluster.driver, [other, *wanted[1:]])


def _submitted(driver: Driver, wanted: list[JobSpec]) -> list[State]:
    """The states of one request's jobs."""
    deadline = within(PATIENCE)
    with ThreadPoolExecutor(4) as pool:
        submit = driver.submitter(wanted, deadline, lambda steps: list(pool.map(lambda step: step(), steps)))
        return list(pool.map(lambda job: submit(job, deadline), wanted))


def test_a_cancel_and_a_submit_at_the_same_time_leave_one_cancelled_job(cluster: Cluster) -> None:
    """Whichever comes first, the job is cancelled in the end."""
    wanted = [cluster.job(Program(endless=True)) for _ in range(15)]
    drivers = [cluster.driver, cluster.another()]

    def submit(index: int) -> str:
        return drivers[index % 2].submit(wanted[index], within(PATIENCE))

    def cancel(index: int) -> str | None:
        cancellation = jobs.cancellation(wanted[index].name)
        return drivers[(index + 1) % 2].cancel(cancellation, within(PATIENCE), tombstone=True)

    with ThreadPoolExecutor(THREADS) as pool:
        both = [(pool.submit(submit, index), pool.submit(cancel, index)) for index in range(len(wanted))]
        states = [(submitted.result(), cancelled.result()) for submitted, cancelled in both]
    assert {cancelled for _, cancelled in states} == {"cancelled"}
    assert {submitted for submitted, _ in states} <= {"created", "cancelled"}
    for job in wanted:
        assert cluster.ended(job.name).cancelled
        assert cluster.submit(job) == "cancelled"


@pytest.mark.needs("runs", "ends", "bounds")
def test_exactly_parallelism_jobs_run_at_once_and_all_jobs_run(cluster: Cluster) -> None:
    wanted = [cluster.job("sleep 0.5") for _ in range(3 * cluster.parallelism)]
    drivers = [cluster.driver, cluster.another()]
    for index, job in enumerate(wanted):
        cluster.submit(job, drivers[index % 2])
    until, most, before = time.monotonic() + cluster.end_seconds, 0, set[str]()
    while waiting := [seen for seen in observed(cluster.driver) if classify(seen) is None]:
        running = {seen.name for seen in waiting if seen.phase == "running"}
        most = max(most, len(running & before))  # a list is no snapshot: what two of them have, ran at once
        before = running
        assert time.monotonic() < until, f"{len(waiting)} jobs have not ended"
    assert most == cluster.parallelism
    assert {cluster.end(job).reason for job in wanted} == {"succeeded"}
