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


def test_a_killed_worker_takes_only_the_commands_in_its_hands_along(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=2)
    asked = made.occupy(4, 1000)
    doomed, survivor = made.workers()
    os.kill(doomed, signal.SIGKILL)
    wait(asked)
    lost = {worker for future, worker in asked.items() if future.exception()}
    assert lost == {doomed}
    assert {future.result() for future, worker in asked.items() if worker == survivor} == {survivor}
    assert all(isinstance(future.exception(), Unavailable) for future, worker in asked.items() if worker == doomed)


def test_the_pool_is_whole_again_within_two_seconds(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2)
    before = made.workers()
    doomed = min(before)
    os.kill(doomed, signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: _fresh(made, before), "a new worker answers", WHOLE_WITHIN)
    assert len(made.workers()) == 2
    assert time.monotonic() - killed < WHOLE_WITHIN


def test_a_command_whose_worker_died_succeeds_when_it_is_repeated(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=1)
    (lost,) = made.occupy(1, 500)
    os.kill(min(made.workers()), signal.SIGKILL)
    with pytest.raises(Unavailable, match="repeat") as caught:
        lost.result()
    assert caught.value.retry_after
    assert eventually(lambda: _placed(made, "again"), "the repeat is placed")


def test_without_its_master_the_pool_refuses_at_once_and_leaves_no_orphan(
    pool: Callable[..., Pool], door: Callable[..., tuple[Door, Process]]
) -> None:
    made = pool(workers=2)
    opened, gunicorn = door(made.socket)
    served = gunicorn.children()
    os.kill(made.process.pid, signal.SIGKILL)
    eventually(lambda: made.process.family() == set(), "the workers have gone", 5)
    answer = opened.post()
    assert (answer.status, answer.body["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert opened.get("/livez").status == 200
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
    orphans, asked = made.workers(), made.occupy(4, 3000)
    os.kill(made.process.pid, signal.SIGKILL)
    made.process.ended()
    made.start()
    assert made.workers().isdisjoint(orphans)
    assert made.run("meanwhile") in made.workers()
    assert not any(future.done() for future in asked)
    assert {future.result() for future in asked} == orphans
    assert made.answers() in made.workers()


def test_a_worker_that_cannot_be_built_at_the_moment_is_tried_again(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1)
    made.order("unbuildable", "")
    os.kill(min(made.workers()), signal.SIGKILL)
    eventually(lambda: "cannot be built" in made.process.said(), "a worker has failed")
    assert made.process.runs()
    made.take_back("unbuildable")
    assert eventually(made.answers, "the pool answers again")


def test_a_stopped_worker_delays_nobody_else(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2)
    stopped = min(made.workers())
    stop(stopped)
    began = time.monotonic()
    workers = {made.run(f"meanwhile-{number}") for number in range(20)}
    assert workers == made.workers() - {stopped}
    assert time.monotonic() - began < 10
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: made.answers() == stopped, "it works again")


def test_a_signal_that_means_nothing_here_does_not_keep_a_worker_busy(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1)
    worker = min(made.workers())
    for number in (signal.SIGUSR1, signal.SIGWINCH):
        os.kill(worker, number)
    spent, until = cpu_seconds(worker), time.monotonic() + 1
    while time.monotonic() < until:  # of which a worker that waits for work needs next to nothing
        made.answers()
        time.sleep(0.1)
    assert cpu_seconds(worker) - spent < 0.3


def test_without_file_descriptors_a_worker_waits_until_there_are_some(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1)
    worker = min(made.workers())
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    eventually(lambda: "no connection could be accepted" in made.process.said(), "the worker starves")
    waiting = made.begin("starved")
    limit_open_files(worker, before)
    assert waiting.result() == worker


def test_a_step_of_the_wall_clock_moves_no_deadline(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1)
    for step in ("300", "-300"):
        asked = made.begin(f"wait-500-{step}", seconds=5)
        made.begun(f"wait-500-{step}")
        made.order("clock", step)
        assert asked.result() == made.run(f"after{step}")


def _fresh(made: Pool, before: set[int]) -> bool:
    return made.answers() in made.workers() - before


def _placed(made: Pool, run_id: str) -> bool:
    try:
        return bool(made.run(run_id))
    except Unavailable:
        return False
