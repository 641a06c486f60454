"""Requests that take longer than anybody should wait: bodies that do not come, and a runner that does not answer."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.functions.conftest import Slow

ANSWERED_WITHIN = 15.0
"""Seconds, after which atlas takes nobody to be there."""


def test_half_a_head_is_given_up_without_a_word(slowly: dict[str, Future[Slow]]) -> None:
    slow = slowly["half a head"].result()
    assert slow.answer is None
    assert slow.seconds < ANSWERED_WITHIN


@pytest.mark.parametrize("slowness", ["silence", "a byte now and then", "a chunk now and then", "a slow runner"])
def test_what_is_too_slow_is_given_up_before_atlas_gives_up(slowly: dict[str, Future[Slow]], slowness: str) -> None:
    slow = slowly[slowness].result()
    assert slow.answer
    assert (slow.answer.status, slow.answer.problem["code"]) == (504, "timeout")
    assert int(slow.answer.headers["retry-after"]) >= 1
    assert slow.seconds < ANSWERED_WITHIN
