"""runner.supervisor: how long a child that keeps dying is waited for."""

from __future__ import annotations

import pytest

from runner import supervisor
from runner.supervisor import LONGEST_PAUSE, Child, Running


def test_the_pause_grows_up_to_a_bound_however_often_a_child_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubling has no end of its own: after a day of deaths no float would hold it."""
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: 100.0)
    running = Running(Child("door", ("false",), {}))
    running.started = 100.0
    pauses = []
    for _ in range(2000):
        running.mourn(1)
        pauses.append(running.due - 100.0)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE
