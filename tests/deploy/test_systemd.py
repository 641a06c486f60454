"""The systemd unit: valid, restricted, and able to run everything under the restrictions that can be tried here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.conftest import ROOT
from tests.harness.processes import Processes, eventually, free_port

UNITS = ROOT / "deploy" / "systemd"
UNIT = UNITS / "orchestrator.service"
EXPOSURE = 30
"""The most that `systemd-analyze security` may find, in tenths of its scale."""


@pytest.fixture(scope="module")
def analyze() -> str:
    """Skips the test where systemd-analyze is missing; fails it if CI=true."""
    found = shutil.which("systemd-analyze")
    if found is None:
        reason = "systemd-analyze is not installed (Debian's package systemd)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _said(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_unit_is_valid(analyze: str, tmp_path: Path) -> None:
    """With this interpreter as the program, since verify looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/orchestrator/venv/bin/python", sys.executable))
    assert sys.executable in unit.read_text()
    assert UNIT.name not in _said(analyze, "verify", "--man=no", unit)


def test_the_unit_is_restricted(analyze: str) -> None:
    said = _said(analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    (exposure,) = re.findall(r"Overall exposure level for orchestrator.service: ([\d.]+)", said)
    assert float(exposure) < EXPOSURE / 10


def test_the_user_is_created() -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed (Debian's package systemd)")
    assert "orchestrator" in _said("systemd-sysusers", "--dry-run", UNITS / "orchestrator.sysusers.conf")


def test_a_job_runs_under_its_filter_of_system_calls_and_without_capabilities(
    analyze: str,
    processes: Processes,
    write_config: Callable[..., Path],
    tmp_path: Path,
    sample: Callable[[str], dict[str, Any]],
    token: Callable[..., str],
) -> None:
    port = free_port()
    images = {name: {"command": ["/bin/echo"]} for name in ("coat", "marvin-*")}
    local = {"directory": str(tmp_path / "jobs"), "images": images}
    http = {"bind": f"127.0.0.1:{port}", "workers": 1}
    config = write_config(tmp_path, driver="local", local=local, http=http)
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)
    program, *arguments = shlex.split(line)
    assert program == "/opt/orchestrator/venv/bin/python"
    privileges = ("setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
    restricted = (*privileges, sys.executable, "tests/deploy/system_calls.py", str(UNIT))
    up = processes.command(*restricted, sys.executable, *arguments, name="up", ORCHESTRATOR_CONFIG=str(config))
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert up.runs(), up.log.read_text()
        try:
            return urllib3.request("GET", f"{url}/readyz", timeout=2, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    eventually(ready, "it is ready", 30)
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    body = json.dumps(sample("analysis"))
    answer = urllib3.request("POST", f"{url}/tasks/analysis", body=body, headers=headers, timeout=20)
    assert answer.status == 201, answer.data
    (job,) = answer.json()["jobs"]
    log = tmp_path / "jobs" / job["name"] / "main.log"
    eventually(lambda: log.exists() and b"analy" in log.read_bytes(), "its main container has printed")
