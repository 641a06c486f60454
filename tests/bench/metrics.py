"""What metrics cost: CPU time of functions and sidecar for a request, with metrics and without, in turns.

CPU time and not requests per second: a difference of a few hundredths is less than what other processes change.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from runner.runtime.metrics import files
from tests.bench import load, stack
from tests.bench.figures import Figure

ROUNDS, SECONDS = 4, 3
BOUND = 1.05


def metrics(work: Path, config: Path, socket_path: Path) -> Iterator[Figure]:
    """The ratio of the two, the median of the rounds."""
    ratios = []
    for _ in range(ROUNDS):
        plain = _microseconds(work, config, socket_path, measured=False)
        ratios.append(_microseconds(work, config, socket_path, measured=True) / plain)
    note = f"{plain:.0f} µs without; {min(ratios):.3f} to {max(ratios):.3f}"
    yield Figure("a request's CPU time, with metrics", statistics.median(ratios), "x", BOUND, note=note)


def _microseconds(work: Path, config: Path, socket_path: Path, *, measured: bool) -> float:
    """Of CPU time for a request."""
    directory = files.beside(str(socket_path))
    files.remove(directory)
    if measured:
        files.prepare(directory)
    variables = {"ORCHESTRATOR_LOG_LEVEL": "WARNING"} | ({files.VARIABLE: str(directory)} if measured else {})
    command = (sys.executable, "-m", "tests.bench.sidecar", str(config))
    port = stack.free_port()
    with (
        stack.process(command, work / "log", variables) as sidecar,
        stack.gunicorn("functions.analysis:app", port, work / "log", socket_path) as gunicorn,
    ):
        url = f"http://127.0.0.1:{port}/tasks/analysis"
        stack.await_answer(f"http://127.0.0.1:{port}/readyz")
        load.requests_per_second(url, 1, work)
        pids = [*stack.tree(sidecar), *stack.tree(gunicorn)]
        before = stack.cpu_seconds(pids)
        rate = load.requests_per_second(url, SECONDS, work)
        return (stack.cpu_seconds(pids) - before) / (rate * SECONDS) * 1e6
