"""docs/reliability.md and docs/performance.md: what they name exists, and they leave nothing out."""

from __future__ import annotations

import re

import pytest

from tests.bench.__main__ import MEASURES
from tests.conftest import ROOT
from tests.prove.__main__ import SCENARIOS
from tests.prove.test_proofs import ENDS
from tests.security.test_statements import NAMED, functions

RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()
ROWS = RELIABILITY.partition("## Our own")[2]
FAULTS = re.findall(r"^\| ([^|]+) \| ([^|]+\.) \| (.*) \|$", ROWS, re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(RELIABILITY))))
def test_a_named_test_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions(path)


def test_every_fault_has_a_promise_and_tests() -> None:
    rows = [
        line for line in RELIABILITY.partition("## Our own")[2].splitlines() if re.match(r"\| (?!what fails)", line)
    ]
    assert len(FAULTS) == len(rows) >= 50
    assert all(re.fullmatch(rf"({NAMED.pattern} ?)+", tests) for _, _, tests in FAULTS)


def test_every_proof_is_listed_with_its_ends() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([\w,]+) \| ([\w,]+) \|$", RELIABILITY, re.MULTILINE)
    listed = {name: (_ends(ci), _ends(full)) for name, ci, full in rows}

    assert listed == {name: (ENDS[name], full) for name, (_, full) in SCENARIOS.items()}


def _ends(cell: str) -> int:
    return 0 if cell == "each" else int(cell.replace(",", ""))


def test_every_measure_is_listed() -> None:
    listed = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs" / "performance.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(MEASURES)
