"""Deaths in the sidecar's pool: whose command is lost, who notices, and how soon all is whole again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import wait

import pytest

from runner.errors import Unavailable
from tests.faults.conftest import Door, Pool
from tests.faults.load import commands
from tests.processes import Process, cpu_seconds, eventually, limit_open_files, lowest_free_descriptor, stop

WHOLE_WITHIN = 2.0


@pytest.fixture(scope="module")
def pool_of_two(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2, threads=2)


@pytest.fixture
def two(pool_of_two: Pool) -> Pool:
    """Two workers of two threads, whole again after whatever befell them last."""
    pool_of_two.await_whole()
    return pool_of_two


@pytest.fixture(scope="module")
def pool_of_one(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=1, threads=4)


@pytest.fixture
def one(pool_of_one: Pool) -> Pool:
    """One worker of four threads."""
    pool_of_one.await_whole()
    return pool_of_one


def test_a_killed_worker_takes_only_the_commands_in_its_hands_along(two: Pool) -> None:
    asked = two.occupy(4)
    doomed, survivor = two.workers()
    os.kill(doomed, signal.SIGKILL)
    wait([future for future, worker in asked.items() if worker == doomed])
    two.release()
    lost = {future: future.exception() for future, worker in asked.items() if worker == doomed}
    kept = [future.result() for future, worker in asked.items() if worker == survivor]
    assert (len(lost), kept) == (2, [survivor, survivor])
    assert all(isinstance(error, Unavailable) for error in lost.values())


def test_a_defect_that_nobody_foresaw_costs_the_command_and_no_more(one: Pool) -> None:
    for number in range(5):  # one more than it has in hand at once
        with pytest.raises(Unavailable, match="went away"):
            one.run(f"silence-{number}")
    assert {one.run(f"after-{number}") for number in range(5)} == one.workers()


def test_the_pool_is_whole_again_within_two_seconds(two: Pool) -> None:
    before = two.workers()
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: two.answers() in two.workers() - before, "a new worker answers", WHOLE_WITHIN)
    assert len(two.workers()) == 2


def test_a_stopped_worker_delays_nobody_else(two: Pool) -> None:
    stopped = min(two.workers())
    stop(stopped)
    began = time.monotonic()
    assert {two.run(f"meanwhile-{number}") for number in range(20)} == two.workers() - {stopped}
    assert time.monotonic() - began < 10
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: two.answers() == stopped, "it works again")


def test_a_command_whose_worker_died_succeeds_when_it_is_repeated(one: Pool) -> None:
    (lost,) = one.occupy(1)
    os.kill(min(one.workers()), signal.SIGKILL)
    with pytest.raises(Unavailable, match="repeat") as caught:
        lost.result()
    assert caught.value.retry_after
    assert eventually(lambda: _placed(one, "again"), "the repeat is placed")


def test_a_worker_that_cannot_be_built_at_the_moment_is_tried_again(one: Pool) -> None:
    one.order("unbuildable", "")
    os.kill(min(one.workers()), signal.SIGKILL)
    eventually(lambda: "cannot be built" in one.process.said(), "a worker has failed")
    assert one.process.runs()
    one.take_back("unbuildable")
    assert eventually(one.answers, "the pool answers again")


def test_a_signal_that_means_nothing_here_does_not_keep_a_worker_busy(one: Pool) -> None:
    worker = min(one.workers())
    for number in (signal.SIGUSR1, signal.SIGWINCH):
        os.kill(worker, number)
    spent, ours = cpu_seconds(worker), time.process_time()
    while time.process_time() - ours < 0.5:  # if it were busy, it would get as much of the machine as we do
        pass
    assert cpu_seconds(worker) - spent < 0.1


def test_without_file_descriptors_a_worker_waits_until_there_are_some(one: Pool) -> None:
    worker = min(one.workers())
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    waiting = one.begin("starved")
    eventually(lambda: "no connection could be accepted" in one.process.said(), "the worker starves")
    limit_open_files(worker, before)
    assert waiting.result() == worker


def test_a_step_of_the_wall_clock_moves_no_deadline(one: Pool) -> None:
    for step in ("300", "-300"):
        asked = one.begin(f"wait-500-{step}", seconds=5)
        one.begun(f"wait-500-{step}")
        one.order("clock", step)
        assert asked.result() == one.run(f"after{step}")


def test_without_its_master_the_pool_refuses_at_once_and_leaves_no_orphan(
    pool: Callable[..., Pool], door: Callable[..., tuple[Door, Process]]
) -> None:
    made = pool(workers=2)
    opened, gunicorn = door(made.socket, workers=1)
    served = gunicorn.children()
    os.kill(made.process.pid, signal.SIGKILL)
    eventually(lambda: made.process.family() == set(), "the workers have gone", 5)
    answer = opened.post()
    assert (answer.status, answer.body["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (opened.get("/readyz").status, opened.get("/livez").status) == (503, 200)
    made.start()
    assert eventually(lambda: opened.post().status == 201, "the functions found the new pool")
    assert gunicorn.children() == served


def test_workers_without_a_master_leave_even_while_requests_keep_coming(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=2)
    load = commands(made.run, 4)
    eventually(lambda: load.outcomes["placed"], "there is load")
    os.kill(made.process.pid, signal.SIGKILL)
    eventually(lambda: not made.process.family(), "the workers have gone", 5)
    load.stop()


def test_workers_without_a_master_finish_what_they_have_in_hand_and_a_new_pool_need_not_wait(
    pool: Callable[..., Pool],
) -> None:
    made = pool(workers=2, threads=2)
    orphans, asked = made.workers(), made.occupy(4)
    for orphan in orphans:
        stop(orphan)  # so that they still listen when the new pool comes
    os.kill(made.process.pid, signal.SIGKILL)
    made.process.ended()
    made.start()
    assert made.run("meanwhile") in made.workers()
    assert made.workers().isdisjoint(orphans)
    for orphan in orphans:
        os.kill(orphan, signal.SIGCONT)
    assert not any(future.done() for future in asked)
    made.release()
    assert {future.result() for future in asked} == orphans
    assert made.answers() in made.workers()


def _placed(made: Pool, run_id: str) -> bool:
    try:
        return bool(made.run(run_id))
    except Unavailable:
        return False
