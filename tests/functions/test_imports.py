"""What a function imports when it starts. It is scaled from zero, so it must start fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT

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
    "runner.drivers",
)


@pytest.mark.parametrize("function", ["analysis", "bundle"])
def test_importing_a_function_imports_no_driver_and_no_heavy_library(function: str) -> None:
    program = f"import sys, functions.{function}; print('\\n'.join(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = printed.stdout.split()
    assert "falcon" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []
