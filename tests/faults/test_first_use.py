"""A new process that is under load at once.

msgspec prepares a struct type when it is first decoded. Two threads that did so at the same time crashed workers with a
segmentation fault, about every third time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.faults.conftest import Pool
from tests.harness.processes import ROOT, eventually

AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(16)
def use():
    barrier.wait()
    each()
threads = [threading.Thread(target=use) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

FUNCTION = """
import functions.analysis
from runner import payloads
from runner.payloads.analysis_run import AnalysisRun
sample = open("examples/analysis.json", "rb").read()
policy = payloads.RequestPolicy(runner_id="", public_key="")
each = lambda: payloads.decode(sample, AnalysisRun, policy)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_threads_may_decode_for_the_first_time_at_once(attempt: int) -> None:
    ended = subprocess.run([sys.executable, "-c", FUNCTION + AT_ONCE], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_new_pool_worker_serves_load_at_once(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=16, queue=64)
    for attempt in range(3):
        (worker,) = made.workers()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda worker=worker: made.workers() - {worker}, "there is a new worker")
        submitted = [made.submit(f"run-{attempt}-{number}") for number in range(32)]
        assert {future.result() for future in submitted} == made.workers()
