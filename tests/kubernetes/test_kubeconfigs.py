"""kubectl does with each kubeconfig of the unit tests' table what the table says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import KubernetesAccess
from tests.unit.drivers.kubernetes.kubeconfigs import CASES, Case, Recorder, recorder, write


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Recorder]:
    with recorder(home) as made:
        yield made


@pytest.mark.parametrize("case", [case for case in CASES if case.kubectl], ids=repr)
def test_kubectl_does_the_same(case: Case, home: Path, server: Recorder, access: KubernetesAccess) -> None:
    path = write(home, case, f"https://127.0.0.1:{server.server_port}")
    server.seen.clear()
    command = [str(access.kubectl), "--kubeconfig", str(path), "--request-timeout=10s", "get", "--raw", "/version"]
    done = subprocess.run(
        command,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (case.sent is not None), done.stderr
    assert server.seen == ([case.sent] if case.sent is not None else [])
