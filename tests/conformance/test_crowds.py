"""Many at once, through several instances."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from runner.tracker.outcomes import classify
from tests.conformance import jobs
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program
from tests.deadlines import within
from tests.rounds import observed

PATIENCE = 60.0
THREADS = 24


def test_a_thousand_submits_of_a_hundred_names_make_a_hundred_jobs(cluster: Cluster) -> None:
    wanted = [cluster.job() for _ in range(100)]
    drivers = [cluster.driver, *(cluster.another() for _ in range(3))]
    asked = [(job, drivers[index % 4]) for index, job in enumerate(wanted * 10)]
    random.Random(7).shuffle(asked)
    with ThreadPoolExecutor(THREADS) as pool:
        states = list(pool.map(lambda each: each[1].submit(each[0], within(PATIENCE)), asked))
    assert Counter(states) == {"created": 100, "exists": 900}
    names = [seen.name for seen in observed(cluster.driver)]
    assert sorted(name for name in names if name in {job.name for job in wanted}) == sorted(job.name for job in wanted)
    # Of two that find nothing at the same instant, both may sign; what one of them has signed is used.
    assert cluster.resolver.asked.keys() == {job.name for job in wanted}


def test_a_cancel_and_a_submit_at_the_same_time_leave_one_cancelled_job(cluster: Cluster) -> None:
    """Whoever comes first: the check has been cancelled, and nothing of it goes on."""
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
def test_no_more_jobs_run_at_once_than_may_and_all_come_to_their_turn(cluster: Cluster) -> None:
    wanted = [cluster.job("sleep 0.5") for _ in range(3 * cluster.parallelism)]
    drivers = [cluster.driver, cluster.another()]
    for index, job in enumerate(wanted):
        cluster.submit(job, drivers[index % 2])
    until, most = time.monotonic() + cluster.end_seconds, 0
    while waiting := [seen for seen in observed(cluster.driver) if classify(seen) is None]:
        most = max(most, sum(seen.phase == "running" for seen in waiting))
        assert time.monotonic() < until, f"{len(waiting)} never had their turn"
    assert most == cluster.parallelism
    assert {cluster.end(job).reason for job in wanted} == {"succeeded"}
