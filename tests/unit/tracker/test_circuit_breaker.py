"""runner.tracker.circuit_breaker: opens after failures of different results, probes one at a time, closes at once."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tracker.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER, PROBE_SECONDS, ResultBreaker
from tests.harness.clock import ManualClock

OPENS_AFTER = 3


class Stand:
    """A breaker and its clock. `follow` does the steps of a script: a letter each, and gives what came back."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.breaker = ResultBreaker(OPENS_AFTER, self.clock, Random(1))

    def follow(self, script: str) -> str:
        return "".join(self._step(step) for step in script.split())

    def _step(self, step: str) -> str:
        """`f1` result 1 fails, `a1` it asks, `s` a success, `w5` 5 seconds pass."""
        kind, number = step[0], step[1:]
        if kind == "w":
            self.clock.advance(float(number))
            return ""
        did = {"f": self.breaker.failed, "a": self.breaker.allow}
        answer = self.breaker.succeeded() if kind == "s" else did[kind](number)
        return "+" if answer else "-"


OPEN = "f1 f2 f3"

SCRIPTS = {
    "closed: everything may be sent": ("a1 a2 a1", "+++"),
    "failures of enough results open it": (f"{OPEN} a1", "--+-"),
    "failures of one result do not": ("f1 f1 f1 f1 a2", "----+"),
    "a success between starts the count again": ("f1 f2 s f3 f1 a9 f2 a9", "-----+" + "+-"),
    "no probe before the pause": (f"{OPEN} w0.4 a1", "--+-"),
    "one probe after the pause": (f"{OPEN} w1 a1 a2 a3", "--++--"),
    "a probe that fails makes a pause": (f"{OPEN} w1 a1 f1 a2 w0.9 a2 w1.1 a2", "--++---+"),
    "a success closes it for all": (f"{OPEN} w1 a1 s a2 a3 a4", "--++++++"),
    "a success of a result that was sent before closes it too": (f"{OPEN} s a1", "--+++"),
    "failures of results that were sent before count no more": (f"{OPEN} f4 f5 f6 w1 a1 f4 f5 a2", "--+---+---"),
    "after it has closed, it takes as many failures again": (f"{OPEN} s f1 f2 a9 f3 a9", "--++--++-"),
    "pauses begin anew": (f"{OPEN} w1 a1 f1 w2 a2 s {OPEN} w1 a1", "--++-++--++"),
    "a lost probe blocks nothing for ever": (f"{OPEN} w1 a1 w{PROBE_SECONDS - 1} a2 w1 a2 a3", "--++-+-"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_may_be_sent(name: str) -> None:
    script, expected = SCRIPTS[name]
    assert Stand().follow(script) == expected


def opened(retry_after: float | None = None) -> Stand:
    stand = Stand()
    stand.follow("f1 f2")
    assert stand.breaker.failed("3", retry_after)
    return stand


def test_pauses_grow_from_the_first_to_the_longest() -> None:
    stand, pauses = opened(), []
    for number in range(12):
        pauses.append(stand.breaker.due - stand.clock.monotonic())
        stand.clock.advance(pauses[-1])
        assert stand.breaker.allow(str(number))
        assert not stand.breaker.failed(str(number))
    assert FIRST_PAUSE / 2 <= pauses[0] <= FIRST_PAUSE
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE for pause in pauses[6:])


@pytest.mark.parametrize(
    ("retry_after", "least", "most"), [(0, 0.5, 1), (20, 20, 20), (3600, LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER)]
)
def test_retry_after_lengthens_a_pause_up_to_a_bound(retry_after: float, least: float, most: float) -> None:
    stand = opened(retry_after)
    assert least <= stand.breaker.due - stand.clock.monotonic() <= most


def test_it_says_since_when_it_is_open_and_when_to_ask_again() -> None:
    stand = Stand()
    assert stand.breaker.open_since is None
    assert stand.breaker.due <= stand.clock.monotonic()
    stand = opened(10)
    began = stand.clock.monotonic()
    stand.clock.advance(4)
    assert stand.breaker.open_since == began
    assert repr(stand.breaker) == "ResultBreaker(open for 4.0 s, next probe in 6.0 s)"
    stand.follow("w6 a7")
    assert repr(stand.breaker) == "ResultBreaker(open for 10.0 s, probing with 7)"
    stand.follow("s f1")
    assert repr(stand.breaker) == f"ResultBreaker(closed, 1 of {OPENS_AFTER} failures)"
    assert stand.breaker.open_since is None


steps = st.one_of(
    st.integers(0, 5).map("f{}".format),
    st.integers(0, 5).map("a{}".format),
    st.just("s"),
    st.floats(0, 40).map("w{:.2f}".format),
)


@given(st.lists(steps, max_size=60))
def test_it_opens_exactly_after_failures_of_enough_results_and_sends_one_probe_at_a_time(script: list[str]) -> None:
    stand, failed, is_open, probe, sent_at = Stand(), set(), False, "", 0.0
    for step in script:
        now = stand.clock.monotonic()
        answer = stand.follow(step)
        if step[0] == "s":
            failed, is_open, probe = set(), False, ""
        elif step[0] == "f" and not is_open:
            failed.add(step[1:])
            is_open = len(failed) == OPENS_AFTER
            assert (answer == "+") == is_open
        elif step[0] == "f":
            probe = "" if step[1:] == probe else probe
        elif step[0] == "a" and not is_open:
            assert answer == "+"
        elif answer == "+":
            assert not probe or now - sent_at >= PROBE_SECONDS
            probe, sent_at = step[1:], now
        assert (stand.breaker.open_since is not None) == is_open


@given(st.lists(steps, max_size=60))
def test_while_open_the_next_probe_is_never_far_and_a_success_always_closes(script: list[str]) -> None:
    stand = Stand()
    stand.follow(" ".join(script))
    wait = stand.breaker.due - stand.clock.monotonic()
    assert wait <= max(LONGEST_PAUSE, PROBE_SECONDS)
    stand.clock.advance(max(wait, 0))
    assert stand.breaker.allow("next")
    stand.follow("s")
    assert stand.follow("a1 a2 a3") == "+++"
