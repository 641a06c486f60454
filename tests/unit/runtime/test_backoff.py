"""runner.runtime.backoff: pauses that grow within bounds, and attempts until a deadline."""

from __future__ import annotations

from random import Random

import pytest

from runner.runtime.backoff import Backoff, attempts
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 4.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_after_a_reset_the_first_pause_is_next() -> None:
    backoff = Backoff(0.5, 4.0)
    for _ in range(3):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 0.5


def test_thousands_of_failures_are_bounded() -> None:
    """Without a bound, doubling would overflow a float after a day of failures."""
    backoff = Backoff(2.0, 300.0)
    assert [backoff.next() for _ in range(5000)][-1] == 300.0


def test_the_first_pause_is_never_over_the_longest() -> None:
    assert Backoff(5.0, 2.0).next() == 2.0


@pytest.mark.parametrize(("drawn", "part"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_jitter_shortens_a_pause_by_at_most_half(drawn: float, part: float) -> None:
    backoff = Backoff(1.0, 8.0, lambda: drawn)
    assert [backoff.next() for _ in range(4)] == [part, 2 * part, 4 * part, 8 * part]


def test_the_same_seed_gives_the_same_pauses_and_another_seed_others() -> None:
    def pauses(seed: int) -> list[float]:
        backoff = Backoff(1.0, 8.0, Random(seed).random)
        return [backoff.next() for _ in range(4)]

    assert pauses(1) == pauses(1) != pauses(2)


def test_attempts_end_before_the_deadline() -> None:
    clock = ManualClock()
    deadline = within(60, clock)
    tries = sum(1 for _ in attempts(deadline, Backoff(0.2, 2.0)))
    assert clock.slept[:5] == [0.2, 0.4, 0.8, 1.6, 2.0]
    assert tries == len(clock.slept) + 1
    assert 0 < deadline.left <= 2.0


def test_one_attempt_is_always_made() -> None:
    clock = ManualClock()
    assert list(attempts(within(-1, clock), Backoff(0.2, 2.0))) == [None]
    assert clock.slept == []
