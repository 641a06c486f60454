"""Killed, stopped and starved processes of the sidecar's pool: which commands fail, and how soon the pool recovers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import wait

import pytest

from runner.errors import Unavailable
from tests.faults.conftest import FunctionsClient, Pool
from tests.faults.load import commands
from tests.harness.processes import Process, cpu_seconds, eventually, limit_open_files, lowest_free_descriptor, stop

RECOVERY_SECONDS = 2.0


@pytest.fixture(scope="module")
def pool_of_two(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2, threads=2)


@pytest.fixture
def two(pool_of_two: Pool) -> Pool:
    """A pool of two workers with two threads each. It has recovered from the previous test."""
    pool_of_two.await_complete()
    return pool_of_two


@pytest.fixture(scope="module")
def pool_of_one(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=1, threads=4)


@pytest.fixture
def one(pool_of_one: Pool) -> Pool:
    """A pool of one worker with four threads. It has recovered from the previous test."""
    pool_of_one.await_complete()
    return pool_of_one


def test_a_killed_worker_loses_only_its_own_commands_in_flight(two: Pool) -> None:
    submitted = two.occupy(4)
    killed, survivor = two.workers()
    os.kill(killed, signal.SIGKILL)
    wait([future for future, worker in submitted.items() if worker == killed])
    two.release()
    lost = {future: future.exception() for future, worker in submitted.items() if worker == killed}
    kept = [future.result() for future, worker in submitted.items() if worker == survivor]
    assert (len(lost), kept) == (2, [survivor, survivor])
    assert all(isinstance(error, Unavailable) for error in lost.values())


def test_an_unexpected_exception_fails_its_command_only(one: Pool) -> None:
    for number in range(5):  # one more than it can have in flight
        with pytest.raises(Unavailable, match="went away"):
            one.run(f"silence-{number}")
    assert {one.run(f"after-{number}") for number in range(5)} == one.workers()


def test_the_pool_replaces_a_killed_worker_within_two_seconds(two: Pool) -> None:
    before = two.workers()
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: two.answers() in two.workers() - before, "a new worker answers", RECOVERY_SECONDS)
    assert len(two.workers()) == 2


def test_a_stopped_worker_delays_no_other(two: Pool) -> None:
    stopped = min(two.workers())
    stop(stopped)
    began = time.monotonic()
    assert {two.run(f"meanwhile-{number}") for number in range(20)} == two.workers() - {stopped}
    assert time.monotonic() - began < 10
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: two.answers() == stopped, "the continued worker answers")


def test_a_command_of_a_killed_worker_succeeds_when_repeated(one: Pool) -> None:
    (lost,) = one.occupy(1)
    os.kill(min(one.workers()), signal.SIGKILL)
    with pytest.raises(Unavailable, match="repeat") as caught:
        lost.result()
    assert caught.value.retry_after
    assert eventually(lambda: _accepted(one, "again"), "the repeat is accepted")


def test_a_worker_that_cannot_be_built_is_tried_again(one: Pool) -> None:
    one.write_file("unbuildable", "")
    os.kill(min(one.workers()), signal.SIGKILL)
    eventually(lambda: "cannot be built" in one.process.said(), "a worker has failed")
    assert one.process.runs()
    one.remove_file("unbuildable")
    assert eventually(one.answers, "the pool answers again")


def test_a_signal_without_a_handler_does_not_keep_a_worker_busy(one: Pool) -> None:
    worker = min(one.workers())
    for number in (signal.SIGUSR1, signal.SIGWINCH):
        os.kill(worker, number)
    before, test_before = cpu_seconds(worker), time.process_time()
    while time.process_time() - test_before < 0.5:  # a busy worker would get as much CPU time as this loop
        pass
    assert cpu_seconds(worker) - before < 0.1


def test_without_file_descriptors_a_worker_waits_until_there_are_some(one: Pool) -> None:
    worker = min(one.workers())
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    waiting = one.submit("starved")
    eventually(lambda: "no connection could be accepted" in one.process.said(), "the worker cannot accept")
    limit_open_files(worker, before)
    assert waiting.result() == worker


def test_a_step_of_the_wall_clock_moves_no_deadline(one: Pool) -> None:
    for step in ("300", "-300"):
        submitted = one.submit(f"wait-500-{step}", seconds=5)
        one.await_started(f"wait-500-{step}")
        one.write_file("clock", step)
        assert submitted.result() == one.run(f"after{step}")


def test_without_its_master_the_pool_refuses_at_once_and_leaves_no_orphan(
    pool: Callable[..., Pool], functions: Callable[..., tuple[FunctionsClient, Process]]
) -> None:
    made = pool(workers=2)
    client, gunicorn = functions(made.socket, workers=1)
    served = gunicorn.children()
    os.kill(made.process.pid, signal.SIGKILL)
    eventually(lambda: made.process.family() == set(), "the workers have ended", 5)
    answer = client.post()
    assert (answer.status, answer.body["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (client.get("/readyz").status, client.get("/livez").status) == (503, 200)
    made.start()
    assert eventually(lambda: client.post().status == 201, "the functions found the new pool")
    assert gunicorn.children() == served


def test_workers_without_a_master_exit_even_under_load(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=2)
    load = commands(made.run, 4)
    eventually(lambda: load.outcomes["accepted"], "there is load")
    os.kill(made.process.pid, signal.SIGKILL)
    eventually(lambda: not made.process.family(), "the workers have ended", 5)
    load.stop()


def test_workers_without_a_master_finish_their_commands_and_a_new_pool_starts_meanwhile(
    pool: Callable[..., Pool],
) -> None:
    made = pool(workers=2, threads=2)
    orphans, submitted = made.workers(), made.occupy(4)
    for orphan in orphans:
        stop(orphan)  # so that they still listen when the new pool starts
    os.kill(made.process.pid, signal.SIGKILL)
    made.process.ended()
    made.start()
    assert made.run("meanwhile") in made.workers()
    assert made.workers().isdisjoint(orphans)
    for orphan in orphans:
        os.kill(orphan, signal.SIGCONT)
    assert not any(future.done() for future in submitted)
    made.release()
    assert {future.result() for future in submitted} == orphans
    assert made.answers() in made.workers()


def _accepted(made: Pool, run_id: str) -> bool:
    try:
        return bool(made.run(run_id))
    except Unavailable:
        return False
