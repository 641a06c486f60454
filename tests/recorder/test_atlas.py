"""The recording atlas: each mode, and that a record is there before the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.recorder.deliveries import Atlas, recording_atlas

BODY = {"id": "7", "task": "t", "kwargs": {"run_id": "r", "status": {"code": 5103, "hmessage": "No.", "err": "e"}}}


@pytest.fixture
def atlas(tmp_path: Path) -> Iterator[Atlas]:
    with recording_atlas(tmp_path) as running:
        yield running


def post(atlas: Atlas, body: object = BODY, timeout: float = 5) -> int:
    return urllib3.request("POST", f"{atlas.url}/results", json=body, timeout=timeout, retries=False).status


def test_a_result_is_recorded_before_it_is_answered(atlas: Atlas) -> None:
    assert post(atlas) == 200
    (seen,) = atlas.deliveries()
    assert (seen.path, seen.status, seen.id, seen.run_id, seen.code) == ("/results", 200, "7", "r", 5103)
    assert abs(seen.at - time.monotonic()) < 5


def test_a_status_that_is_a_number_is_the_code(atlas: Atlas) -> None:
    post(atlas, {"id": "7", "kwargs": {"run_id": "r", "status": 10}})
    assert [each.code for each in atlas.deliveries()] == [10]


def test_a_body_without_a_result_is_recorded_as_unreadable(atlas: Atlas) -> None:
    post(atlas, {"id": "7"})
    assert [each.unreadable for each in atlas.deliveries()] == ['{"id":"7"}']


def test_it_fails_with_the_status_of_its_mode_and_accepts_again(atlas: Atlas) -> None:
    atlas.behave("fail 503")
    assert post(atlas) == 503
    assert not atlas.accepted()
    atlas.behave("accept")
    assert post(atlas) == 200
    assert len(atlas.accepted()) == 1


def test_a_slow_answer_comes_after_its_seconds(atlas: Atlas) -> None:
    atlas.behave("slow 0.3")
    began = time.monotonic()
    assert post(atlas) == 200
    assert time.monotonic() - began >= 0.3


def test_a_hanging_request_is_recorded_and_never_answered(atlas: Atlas) -> None:
    atlas.behave("hang")
    with pytest.raises(urllib3.exceptions.HTTPError):
        post(atlas, timeout=0.3)
    assert [each.status for each in atlas.deliveries()] == [0]


def test_requests_that_hang_are_closed_when_the_mode_changes(atlas: Atlas) -> None:
    atlas.behave("hang")
    failed = threading.Event()

    def send() -> None:
        try:
            post(atlas, timeout=20)
        except urllib3.exceptions.HTTPError:
            failed.set()

    thread = threading.Thread(target=send)
    thread.start()
    while not atlas.deliveries():
        time.sleep(0.01)
    atlas.behave("accept")
    thread.join(5)
    assert failed.is_set()


def test_refusing_closes_the_port_and_accepting_opens_the_same_one(atlas: Atlas) -> None:
    atlas.behave("refuse")
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        post(atlas)
    atlas.behave("accept")
    assert post(atlas) == 200


def test_a_schedule_sets_one_mode_after_the_other(atlas: Atlas) -> None:
    atlas.follow([(0.0, "refuse"), (0.0, "fail 500")])
    assert post(atlas) == 500
