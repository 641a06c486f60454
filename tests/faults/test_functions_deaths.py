"""The functions' worker processes: what is lost when one is killed or has no file descriptors left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import FunctionsClient, Pool
from tests.harness.processes import Process, eventually, limit_open_files, lowest_free_descriptor
from tests.harness.wire import Connection, head


@pytest.fixture(scope="module")
def made(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=1)


@pytest.fixture(scope="module")
def served(
    made: Pool, lasting_functions: Callable[..., tuple[FunctionsClient, Process]]
) -> tuple[FunctionsClient, Process]:
    return lasting_functions(made.socket, workers=1)


@pytest.fixture
def worker(served: tuple[FunctionsClient, Process]) -> int:
    """The pid of gunicorn's only worker."""
    client, gunicorn = served
    eventually(lambda: client.ready() and len(gunicorn.children()) == 1, "the functions are ready and have one worker")
    return gunicorn.children()[0]


def test_a_request_of_a_killed_worker_succeeds_when_repeated_and_makes_one_job(
    made: Pool, served: tuple[FunctionsClient, Process], worker: int
) -> None:
    client, gunicorn = served
    lost = made.threads.submit(client.post, "wait-500-x")
    made.await_started("wait-500-x")
    os.kill(worker, signal.SIGKILL)
    assert lost.result().status == 0
    repeated = eventually(lambda: _accepted(client, "wait-500-x"), "the repeat is accepted")
    assert [job["state"] for job in repeated.body["jobs"]] == ["exists"]
    assert gunicorn.children() != [worker]


def test_without_file_descriptors_a_connection_waits_in_the_backlog_and_is_not_lost(
    served: tuple[FunctionsClient, Process], worker: int
) -> None:
    client, gunicorn = served
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    with Connection(client.port) as waiting:
        waiting.send(head("GET", "/livez"))
        assert not waiting.hears(0.5)
        limit_open_files(worker, before)
        assert waiting.answer().status == 200
    assert gunicorn.children() == [worker]


def test_a_function_without_file_descriptors_for_the_sidecar_answers_unavailable(
    served: tuple[FunctionsClient, Process], worker: int
) -> None:
    client, _ = served
    with Connection(client.port) as connection:
        assert connection.ask(head("GET", "/readyz")).status == 200
        before = limit_open_files(worker, lowest_free_descriptor(worker))
        starved = connection.ask(head("GET", "/readyz"))
        limit_open_files(worker, before)
        assert (starved.status, starved.problem["code"]) == (503, "unavailable")
        assert connection.ask(head("GET", "/readyz")).status == 200


def _accepted(client: FunctionsClient, run_id: str) -> Any:
    answer = client.post(run_id)
    return answer if answer.status in (200, 201) else None
