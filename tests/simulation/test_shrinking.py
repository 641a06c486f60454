"""Of what a seed breaks, hypothesis leaves what is needed for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.simulation.shrinking import shrunk

pytestmark = pytest.mark.timeout(600)


def test_a_mutant_is_shrunk_to_the_request_that_it_breaks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.mutants", "--shrink", "a cancel writes no tombstone"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(lines) == 1, f"{done.stdout}\n{done.stderr}"
    assert "submits=(), cancels=(" in lines[0]


def test_a_seed_that_breaks_nothing_has_nothing_to_shrink() -> None:
    assert shrunk(1, "nomad") is None
