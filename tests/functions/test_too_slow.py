"""Requests that take too long: bodies that do not arrive, and a runner that does not answer."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.functions.conftest import Slow

ANSWERED_WITHIN = 15.0
"""Seconds after which atlas gives up a request."""


def test_half_a_head_is_answered_request_timeout(slowly: dict[str, Future[Slow]]) -> None:
    slow = slowly["half a head"].result()
    assert slow.answer
    assert (slow.answer.status, slow.answer.problem["code"]) == (408, "request_timeout")
    assert slow.seconds < ANSWERED_WITHIN


def test_silence_closes_the_connection_without_an_answer(slowly: dict[str, Future[Slow]]) -> None:
    slow = slowly["not a byte"].result()
    assert slow.answer is None
    assert slow.seconds < ANSWERED_WITHIN


@pytest.mark.parametrize("slowness", ["silence", "a byte now and then", "a chunk now and then", "a slow runner"])
def test_a_slow_request_is_answered_timeout_before_atlas_gives_up(
    slowly: dict[str, Future[Slow]], slowness: str
) -> None:
    slow = slowly[slowness].result()
    assert slow.answer
    assert (slow.answer.status, slow.answer.problem["code"]) == (504, "timeout")
    assert int(slow.answer.headers["retry-after"]) >= 1
    assert slow.seconds < ANSWERED_WITHIN
