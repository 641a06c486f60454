"""runner.supervisor: how long a child that keeps dying is waited for."""

from __future__ import annotations

from runner.supervisor import LONGEST_PAUSE, Child, Running
from tests.clock import ManualClock


def test_the_pause_grows_up_to_a_bound_however_often_a_child_dies() -> None:
    """Doubling has no end of its own: after a day of deaths no float would hold it."""
    clock = ManualClock()
    running = Running(Child("door", ("false",), {}), clock)
    running.started = clock.monotonic()
    pauses = []
    for _ in range(2000):
        running.record_exit(1)
        pauses.append(running.due - clock.monotonic())
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] == LONGEST_PAUSE
