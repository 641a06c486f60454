"""runner.tracker.leadership.accepted: which ids are known, which are to be stored, and when."""

from __future__ import annotations

import threading

import pytest

from runner.tracker.leadership.accepted import (
    KEPT_SECONDS,
    MARKED_SECONDS,
    MOST,
    MOST_STORED,
    NOT_WORTH_A_WRITE,
    AcceptedResults,
)
from tests.harness.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accepted(clock: ManualClock) -> AcceptedResults:
    accepted = AcceptedResults(threading.Event(), clock)
    accepted.stores = True
    return accepted


def _add(accepted: AcceptedResults, count: int) -> None:
    for number in range(count):
        accepted.add(str(number))


def test_a_result_is_known_until_its_job_is_marked(accepted: AcceptedResults) -> None:
    accepted.add("one")
    accepted.add("two")
    accepted.marked(["one"])
    assert ("one" in accepted, "two" in accepted, len(accepted)) == (False, True, 1)


def test_a_marked_one_stays_in_the_record_for_a_while(accepted: AcceptedResults, clock: ManualClock) -> None:
    """The next leader may begin with a list that is older than the mark."""
    _add(accepted, 2)
    accepted.marked(["1"])
    assert accepted.to_store() == ["0", "1"]
    clock.advance(MARKED_SECONDS)
    assert accepted.to_store() == ["0"]


def test_what_has_no_mark_comes_before_what_has_one(accepted: AcceptedResults) -> None:
    _add(accepted, MOST_STORED + 1)
    accepted.marked(["0", "1"])
    stored = accepted.to_store()
    assert (len(stored), stored[-1]) == (MOST_STORED, "1")


def test_they_are_due_once_more_than_a_few_are_not_stored(accepted: AcceptedResults) -> None:
    _add(accepted, NOT_WORTH_A_WRITE)
    assert not accepted.due.is_set()
    accepted.add("one more")
    assert accepted.due.is_set()


def test_marked_and_stored_ones_do_not_count(accepted: AcceptedResults) -> None:
    _add(accepted, NOT_WORTH_A_WRITE)
    accepted.marked(["0"])
    accepted.add("another")
    assert not accepted.due.is_set()
    accepted.stored(accepted.to_store())
    accepted.add("one more")
    assert not accepted.due.is_set()


def test_the_newest_are_stored(accepted: AcceptedResults) -> None:
    _add(accepted, MOST_STORED + 1)
    stored = accepted.to_store()
    assert len(stored) == MOST_STORED
    assert str(MOST_STORED) in stored
    assert "0" not in stored


def test_inherited_ones_are_known_and_stored_but_not_due(accepted: AcceptedResults) -> None:
    accepted.inherit(["one", "two"] * NOT_WORTH_A_WRITE)
    assert "one" in accepted
    assert not accepted.due.is_set()
    assert sorted(accepted.to_store()) == ["one", "two"]
    assert len(accepted) == 0


def test_one_that_is_accepted_again_is_this_process_s_own(accepted: AcceptedResults) -> None:
    """Somebody has asked for its result again."""
    accepted.inherit(["inherited"])
    _add(accepted, 1)
    accepted.marked(["0"])
    for each in ("0", "inherited"):
        accepted.add(each)
    assert len(accepted) == 2
    assert sorted(accepted.to_store()) == ["0", "inherited"]


def test_those_that_are_not_stored_yet_are_stored_before_all_others(accepted: AcceptedResults) -> None:
    """They keep others from being published. This process has led before, and inherits as many as can be stored."""
    _add(accepted, 40)
    accepted.inherit(f"inherited {number}" for number in range(MOST_STORED))
    accepted.stored(accepted.to_store())
    assert accepted.unstored == 0


def test_one_that_is_never_marked_is_dropped_later(accepted: AcceptedResults, clock: ManualClock) -> None:
    accepted.inherit(["old"])
    clock.advance(KEPT_SECONDS)
    accepted.add("new")
    assert accepted.to_store() == ["new"]
    assert "old" not in accepted


def test_there_are_never_too_many(accepted: AcceptedResults) -> None:
    _add(accepted, MOST + 5)
    assert len(accepted) == MOST
    assert "4" not in accepted


def test_what_is_accepted_during_a_write_is_not_stored_by_it(accepted: AcceptedResults) -> None:
    changes: list[int] = []
    accepted.changed = lambda: changes.append(accepted.unstored)
    _add(accepted, 3)
    written = accepted.to_store()
    accepted.add("later")
    assert accepted.unstored == 4
    accepted.stored(written)
    assert accepted.unstored == 1
    assert changes == [1]


def test_without_a_record_none_waits_to_be_stored(clock: ManualClock) -> None:
    accepted = AcceptedResults(threading.Event(), clock)
    _add(accepted, 10 * NOT_WORTH_A_WRITE)
    assert accepted.unstored == 0
    assert not accepted.due.is_set()
