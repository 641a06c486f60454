"""The byte budget and the log of refusals, which the protocols share."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from functions.byte_budget import ByteBudget
from functions.refusals import PER_SECOND, RefusalLog
from tests.harness.clock import ManualClock


class Arriving:
    def __init__(self) -> None:
        self.refused = False

    def refuse(self) -> None:
        self.refused = True


def test_over_the_budget_the_message_that_has_been_arriving_for_longest_is_refused() -> None:
    budget, first, second, third = ByteBudget(100), Arriving(), Arriving(), Arriving()
    budget.add(first, 40)
    budget.add(second, 40)
    budget.add(first, 20)
    assert not first.refused
    budget.add(third, 1)
    assert (first.refused, second.refused, third.refused) == (True, False, False)


def test_a_message_that_has_arrived_frees_its_bytes() -> None:
    budget, first, second = ByteBudget(100), Arriving(), Arriving()
    budget.add(first, 100)
    budget.release(first)
    budget.release(first)
    budget.add(second, 100)
    assert not second.refused
    budget.add(second, 1)
    assert second.refused


def test_refusals_over_the_rate_are_counted_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    later: list[Callable[[], None]] = []
    refusals = RefusalLog("http", clock, lambda _, function: later.append(function))
    with caplog.at_level(logging.INFO, "orchestrator.refusals"):
        for _ in range(PER_SECOND + 7):
            refusals.write(request_id="a", path="/" * 999, status=400, code="malformed", arrived=0, peer="b:1")
        assert len(caplog.records) == PER_SECOND
        (count,) = later
        count()
        assert caplog.records[-1].__dict__["count"] == 7
        assert len(caplog.records[0].__dict__["path"]) == 256
