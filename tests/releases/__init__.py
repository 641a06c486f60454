"""State that released code has written: one directory of fixtures for each release, saved by `record.py`.

In here: the fixtures, the recorder (`recorder`, which runs in a release's own tree), and the code that restores the
state for a test (`places`). Not in here: the tests of the current code with that state (`tests/conformance`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RELEASES = sorted(path.parent.name for path in HERE.glob("*/requests.json"))

State = dict[str, Any]
"""The record of one job: `job` (its name), `request`, `observation`, `result`, and the state that its driver wrote."""


@cache
def _load(release: str, file: str) -> str:
    return (HERE / release / f"{file}.json").read_text()


def recorded(release: str, file: str) -> dict[str, Any]:
    """A new copy of the content of a release's file."""
    content: dict[str, Any] = json.loads(_load(release, file))
    return content
