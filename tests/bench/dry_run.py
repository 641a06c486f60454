"""The printer driver relative to the memory driver: the same requests through the same sidecar, in this process."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner import payloads
from runner.config import loading
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.drivers.memory import MemoryDriver
from runner.drivers.printer import PrinterDriver
from runner.payloads.analysis_run import AnalysisRun
from runner.runtime.clock import SystemClock
from runner.security.tokens import Signer
from runner.sidecar import frames
from runner.sidecar.server import Sidecar
from tests.bench.figures import Figure
from tests.bench.stack import ROOT

ROUNDS = 5
REQUESTS = 300
BOUND = 0.6


def dry_run(path: Path) -> Iterator[Figure]:
    """The ratio of both drivers' requests per second, in alternating rounds. Both drivers sign tokens."""
    config = loading.load(path, os.environ)
    clock = SystemClock()
    resolve_secrets = Signer(config.runner.private_key, config.runner.id, clock.wall).resolve_secrets
    ratios, rates = [], []
    with open(os.devnull, "w") as out, _no_command_log():
        for number in range(ROUNDS):
            printer = PrinterDriver(config, resolve_secrets=resolve_secrets, clock=clock, out=out)
            printed = _rate(config, printer, f"p{number}")
            memory = _rate(config, MemoryDriver(resolve_secrets=resolve_secrets, clock=clock), f"m{number}")
            ratios.append(printed / memory)
            rates.append(f"{printed:.0f}:{memory:.0f}")
    name = "printer driver, relative to memory driver"
    yield Figure(name, statistics.median(ratios), "", BOUND, True, ", ".join(rates))


def _rate(config: Config, driver: Driver, prefix: str) -> float:
    """Requests per second of CPU time, so that other processes' load does not count."""
    sidecar = Sidecar(config, {"memory": driver}, clock=SystemClock())
    bodies = [_frame(f"{prefix}{number}") for number in range(REQUESTS)]
    began = time.process_time()
    for body in bodies:
        reply = sidecar.answer(body)
        assert isinstance(reply, frames.Accepted), reply
    return REQUESTS / (time.process_time() - began)


def _frame(run_id: str) -> bytes:
    sample = json.loads((ROOT / "examples" / "analysis.json").read_text()) | {"run_id": run_id}
    request = payloads.decode(json.dumps(sample).encode(), AnalysisRun, payloads.RequestPolicy("bench", ""))
    frame = frames.submission("analysis_run", request, time.monotonic() + 600, "bench")
    return frames.encode(frame)[frames.HEADER.size :]


@contextmanager
def _no_command_log() -> Iterator[None]:
    """Discard standard error, where each command logs a line."""
    saved, discarded = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(discarded, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(discarded)
