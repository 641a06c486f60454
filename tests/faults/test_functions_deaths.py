"""The functions' own processes: what is lost when one dies or starves, and what a repeat makes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import Door, Pool
from tests.processes import Process, eventually, limit_open_files, lowest_free_descriptor
from tests.wire import Connection, head


@pytest.fixture(scope="module")
def made(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=1)


@pytest.fixture(scope="module")
def served(made: Pool, lasting_door: Callable[..., tuple[Door, Process]]) -> tuple[Door, Process]:
    return lasting_door(made.socket, workers=1)


@pytest.fixture
def worker(served: tuple[Door, Process]) -> int:
    """The one process that serves requests."""
    opened, gunicorn = served
    eventually(lambda: opened.ready() and len(gunicorn.children()) == 1, "all is well")
    return gunicorn.children()[0]


def test_a_request_whose_function_died_succeeds_when_it_is_repeated_and_made_one_job(
    made: Pool, served: tuple[Door, Process], worker: int
) -> None:
    opened, gunicorn = served
    lost = made.threads.submit(opened.post, "wait-500-x")
    made.begun("wait-500-x")
    os.kill(worker, signal.SIGKILL)
    assert lost.result().status == 0
    repeated = eventually(lambda: _accepted(opened, "wait-500-x"), "the repeat is accepted")
    assert [job["state"] for job in repeated.body["jobs"]] == ["exists"]
    assert gunicorn.children() != [worker]


def test_without_file_descriptors_who_knocks_waits_and_nothing_is_lost(
    served: tuple[Door, Process], worker: int
) -> None:
    opened, gunicorn = served
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    with Connection(opened.port) as waiting:
        waiting.send(head("GET", "/livez"))
        assert not waiting.hears(0.5)
        limit_open_files(worker, before)
        assert waiting.answer().status == 200
    assert gunicorn.children() == [worker]


def test_a_function_that_cannot_reach_the_sidecar_for_want_of_descriptors_is_unavailable(
    served: tuple[Door, Process], worker: int
) -> None:
    opened, _ = served
    with Connection(opened.port) as connection:
        assert connection.ask(head("GET", "/readyz")).status == 200
        before = limit_open_files(worker, lowest_free_descriptor(worker))
        starved = connection.ask(head("GET", "/readyz"))
        limit_open_files(worker, before)
        assert (starved.status, starved.problem["code"]) == (503, "unavailable")
        assert connection.ask(head("GET", "/readyz")).status == 200


def _accepted(opened: Door, run_id: str) -> Any:
    answer = opened.post(run_id)
    return answer if answer.status in (200, 201) else None
