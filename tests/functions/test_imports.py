"""What a function imports when it starts. It is scaled from zero, so it must start fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.processes import ROOT

HEAVY = (
    "kubernetes",
    "nomad",
    "grpclib",
    "aiormq",
    "pamqp",
    "yaml",
    "gunicorn",
    "gevent",
    "jwt",
    "cryptography",
    "runner.commands",
    "runner.drivers",
    "runner.tracker",
    "prometheus_client",
)


@pytest.mark.parametrize("function", ["analysis", "bundle"])
def test_importing_a_function_imports_no_driver_and_no_heavy_library(function: str) -> None:
    loaded = _loaded_by(f"functions.{function}")
    assert "falcon" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


@pytest.mark.parametrize("protocol", ["grpc", "amqp"])
def test_a_protocol_without_http_imports_no_falcon_and_no_function_s_file(protocol: str) -> None:
    loaded = _loaded_by(f"functions.{protocol}.server")
    files = {f"functions.{path.stem}" for path in (ROOT / "functions").glob("*.py")}
    shared = {"functions.bearer", "functions.byte_budget", "functions.function", "functions.refusals"}
    shared.add("functions.request_metrics")
    assert {"functions.bearer", "functions.function"} <= {name for name in loaded if name in files} <= shared
    assert [name for name in loaded if name.startswith(("falcon", "functions.http"))] == []


def _loaded_by(module: str) -> list[str]:
    program = f"import sys, {module}; print('\\n'.join(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return printed.stdout.split()
