"""State that released code has written: one directory of fixtures for each release, as `record.py` has saved it.

In here: the fixtures, the recorder (`recorder`, which runs inside a release's own tree), and what puts the state back
for a test (`places`). Not in here: what the current code must make of it (`tests/conformance`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RELEASES = sorted(path.parent.name for path in HERE.glob("*/requests.json"))

State = dict[str, Any]
"""What was recorded of one job: `job` (its name), `request`, `observation`, `result`, and what its driver wrote."""


@cache
def _load(release: str, file: str) -> str:
    return (HERE / release / f"{file}.json").read_text()


def recorded(release: str, file: str) -> dict[str, Any]:
    """A fresh copy of a file of that release."""
    content: dict[str, Any] = json.loads(_load(release, file))
    return content
