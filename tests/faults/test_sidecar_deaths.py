"""The whole sidecar is killed while the local driver creates a job. There is one job, and it runs once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import payloads
from runner.drivers.local.driver import LocalDriver
from runner.errors import OrchestratorError
from runner.outcomes import classify
from runner.payloads.analysis_run import AnalysisRun
from runner.runtime.clock import SystemClock
from runner.sidecar.client import Client
from tests.conformance.clusters.local import LocalCluster
from tests.faults.conftest import OPEN
from tests.harness.processes import Process, Processes, eventually
from tests.harness.rounds import observed

MOMENTS = [0.002, 0.008, 0.02]
"""Seconds after a command was sent: before, while, and after its job is created."""


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    """A driver on the jobs' directory. Jobs that still run are ended after the test."""
    cluster = LocalCluster(tmp_path / "jobs")
    yield cluster.driver
    cluster.close()


def test_after_a_kill_at_any_moment_a_repeated_command_makes_one_job_that_runs_once(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    sample: Callable[[str], dict[str, Any]],
    jobs: LocalDriver,
) -> None:
    images = {"*": {"command": ["/bin/sh", "-c", "sleep 0.3; echo ran"]}}
    local = {"directory": str(tmp_path / "jobs"), "images": images}
    config = write_config(tmp_path, driver="local", local=local, sidecar={"workers": 2})
    client = Client(str(tmp_path / "runner.sock"), SystemClock())
    names, sidecar = [], _ready(processes, config, client)
    for number, moment in enumerate(MOMENTS):
        with ThreadPoolExecutor() as pool:
            first = pool.submit(_analyse, client, sample("analysis"), f"run-{number}")
            time.sleep(moment)
            _kill(sidecar)
            with suppress(OrchestratorError):
                first.result()
        sidecar = _ready(processes, config, client)
        names.append(_analyse(client, sample("analysis"), f"run-{number}"))
    _kill(sidecar)
    for name in names:
        outcome = eventually(lambda name=name: _end(jobs, name), f"{name} has ended")
        assert outcome.reason == "succeeded"
        assert jobs.logs(name, "marvin") == "ran\n"
        assert jobs.logs(name, "coat") == "ran\n"


def _ready(processes: Processes, config: Path, client: Client) -> Process:
    def answers() -> bool:
        with suppress(OrchestratorError):
            return bool(client.ping(time.monotonic() + 1))
        return False

    started = processes.sidecar(config)
    eventually(answers, "the sidecar answers", 30)
    return started


def _analyse(client: Client, sample: dict[str, Any], run_id: str) -> str:
    request = payloads.decode(msgspec.json.encode(sample | {"run_id": run_id}), AnalysisRun, OPEN)
    (job,) = client.submit("analysis_run", request, time.monotonic() + 10, "trace")
    assert job.state in ("created", "exists")
    return job.name


def _kill(sidecar: Process) -> None:
    """Kill master and workers. A job's processes do not have the sidecar's mark, so they are not killed."""
    for pid in sidecar.family():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    sidecar.ended()


def _end(jobs: LocalDriver, name: str) -> Any:
    (seen,) = [seen for seen in observed(jobs) if seen.name == name]
    return classify(seen)
