"""The simulation finds every mutant of the table, within the seeds that the table names."""

from __future__ import annotations

import pytest

from tests.simulation.mutants.__main__ import found_by_simulation
from tests.simulation.mutants.loader import mutated
from tests.simulation.mutants.table import MUTANTS, Mutant

pytestmark = pytest.mark.timeout(600)  # hundreds of seeds, on two busy cores


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_simulation_finds(mutant: Mutant) -> None:
    assert found_by_simulation(mutant)


def test_a_mutant_whose_line_is_gone_is_an_error() -> None:
    with pytest.raises(LookupError, match="0 times"):
        mutated(Mutant("none", "runner/composition.py", "no such line", ""))
