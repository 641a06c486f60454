"""The parts that the composition root builds, run with a configuration."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from runner import composition
from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.jobs import JobSpec
from runner.observation import Observation
from runner.payloads import RequestPolicy, decode
from runner.payloads.ssh_verify_run import SshVerifyRun
from tests.harness.deadlines import within
from tests.harness.rounds import observed


def test_ssh_verify_runs_this_host_s_own_programs(make_config: Callable[..., Config], tmp_path: Path) -> None:
    """No server listens on that port. Exit code 12 means that it cannot be reached, so git and ssh have run."""
    local = {"directory": str(tmp_path), "images": {"coat": {"command": ["/bin/false"]}}}
    config = make_config(driver="local", sidecar={}, local=local)
    document = {"run_id": "v-1", "ssh_meta": {"remote_url": "ssh://git@127.0.0.1:1/a/b.git"}, "keys": {}}
    request = decode(json.dumps(document).encode(), SshVerifyRun, RequestPolicy(runner_id="", public_key=""))
    (job,) = plan(request, config)
    assert isinstance(job, JobSpec)
    driver = composition.drivers(config)["local"]
    driver.submit(job, within(5))

    assert _ended(driver, job.name).main_exit == 12


def _ended(driver: Driver, name: str) -> Observation:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for seen in observed(driver):
            if seen.name == name and seen.ended:
                return seen
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end")
