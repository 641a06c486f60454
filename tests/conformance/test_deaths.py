"""The driver's process is killed: the state on the cluster is consistent, and another process continues from it."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable

import pytest

from tests.conformance import jobs
from tests.conformance.clusters import PATIENCE, Cluster
from tests.conformance.jobs import Program
from tests.harness.deadlines import within

pytestmark = pytest.mark.needs("runs", "ends", "shares")

MOMENTS = [step / 1000 for step in range(0, 24, 2)]
"""Seconds after the start of a call, from its beginning to after its end."""


def test_after_a_kill_at_any_moment_of_a_submit_a_repeat_leaves_one_job_that_runs_once(cluster: Cluster) -> None:
    wanted = [cluster.job(Program(prints="ran\n")) for _ in MOMENTS]
    for job, moment in zip(wanted, MOMENTS, strict=True):
        _killed(lambda job=job: cluster.another().submit(job, within(PATIENCE)), moment)
    assert {cluster.submit(job) for job in wanted} <= {"created", "exists"}
    for job in wanted:
        assert cluster.end(job).reason == "succeeded"
        assert cluster.driver.logs(job.name) == "ran\n"


def test_after_a_kill_at_any_moment_of_a_cancel_a_repeat_leaves_the_job_cancelled(cluster: Cluster) -> None:
    wanted = [cluster.job(Program(endless=True)) for _ in MOMENTS]
    for index, (job, moment) in enumerate(zip(wanted, MOMENTS, strict=True)):
        if index % 2:
            cluster.submit(job)
        cancellation = jobs.cancellation(job.name)
        _killed(lambda c=cancellation: cluster.another().cancel(c, within(PATIENCE), tombstone=True), moment)
    for job in wanted:
        assert cluster.cancel(job.name) == "cancelled"
        assert cluster.ended(job.name).cancelled
        assert cluster.submit(job) == "cancelled"


def test_a_job_continues_after_its_submitter_is_killed(cluster: Cluster) -> None:
    job = cluster.job("sleep 0.5; echo done")
    _killed(lambda: cluster.another().submit(job, within(PATIENCE)), None)
    assert cluster.end(job).reason == "succeeded"
    assert cluster.driver.logs(job.name) == "done\n"


def _killed(call: Callable[[], object], moment: float | None) -> None:
    """Call in a child process, and kill it after `moment` seconds; None means once the call has returned."""
    began, begin = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no thread of this process
        child = os.fork()
    if child == 0:
        try:
            if moment is not None:
                os.write(begin, b".")
            call()
            os.write(begin, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.read(began, 1)
    time.sleep(moment or 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(began)
    os.close(begin)
