"""The time for one analysis of 256 checks on real servers, relative to a bare client that creates the same objects.

The command is sent to the sidecar, with a deadline that no machine exceeds: over HTTP it would be ten seconds.
"""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.payloads import RequestPolicy, decode
from runner.payloads.analysis_run import AnalysisRun
from runner.runtime.clock import SystemClock
from runner.sidecar.client import Client
from tests.bench import stack
from tests.bench.figures import Figure

CHECKS, ROUNDS = 256, 5
DEADLINE_SECONDS = 300
BOUND = 1.3


def large_analysis(
    name: str, socket: Path, pool: str, create: Callable[[str], None], connections: int
) -> Iterator[Figure]:
    """The ratio of both times, in rounds that alternate. The bare client has as many connections."""
    client = Client(str(socket), SystemClock())

    def ours() -> float:
        request = _request(pool)
        began = time.monotonic()
        jobs = client.submit("analysis_run", request, began + DEADLINE_SECONDS, "bench")
        seconds = time.monotonic() - began
        if [job.state for job in jobs] != ["created"] * CHECKS:
            raise RuntimeError(f"not every job was created: {jobs}")
        return seconds

    def bare() -> float:
        run = uuid.uuid4()
        with ThreadPoolExecutor(connections) as threads:
            began = time.monotonic()
            list(threads.map(lambda number: create(f"analysis-s0-{run}-{number}"), range(CHECKS)))
            return time.monotonic() - began

    ours(), bare()  # warm up connections and caches
    rounds = [(ours(), bare()) if number % 2 else (bare(), ours())[::-1] for number in range(ROUNDS)]
    ratio = statistics.median(mine / other for mine, other in rounds)
    note = ", ".join(f"{mine:.2f}:{other:.2f} s" for mine, other in rounds)
    yield Figure(f"{name}, an analysis of {CHECKS} checks, relative to the bare client", ratio, "", BOUND, note=note)


def _request(pool: str) -> AnalysisRun:
    sample = json.loads((stack.ROOT / "examples" / "analysis.json").read_bytes())
    checks = [{**sample["checks"][0], "check_seq": str(number)} for number in range(CHECKS)]
    document = {**sample, "run_id": str(uuid.uuid4()), "checks": checks, "_meta": {"resource_pool": pool}}
    return decode(json.dumps(document).encode(), AnalysisRun, RequestPolicy("bench", ""))
