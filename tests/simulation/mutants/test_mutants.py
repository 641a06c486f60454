"""The simulation finds every mutant of the table, within the seeds that the table names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.simulation.mutants.__main__ import found_by_simulation
from tests.simulation.mutants.loader import mutated
from tests.simulation.mutants.table import MUTANTS, Mutant
from tests.simulation.shrinking import shrunk

pytestmark = pytest.mark.timeout(600)  # hundreds of seeds, on two busy cores


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_simulation_finds(mutant: Mutant) -> None:
    assert found_by_simulation(mutant)


def test_a_mutant_whose_line_is_gone_is_an_error() -> None:
    with pytest.raises(LookupError, match="0 times"):
        mutated(Mutant("none", "runner/composition.py", "no such line", ""))


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
