"""What the sidecar does when it is told something: stop, reread; and when it is started where one is already."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from runner.runtime import exit_codes
from tests.faults.conftest import Pool
from tests.faults.load import commands
from tests.processes import Processes, eventually

NOBODY = "no runner listens"
NOT_REREAD = "the configuration was not reread"


def test_on_sigterm_what_is_in_hand_or_queued_is_finished(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=1, queue=8)
    in_hand = made.occupy(2)
    queued = [made.begin(f"queued-{number}") for number in range(6)]
    eventually(lambda: _connected(made) >= 8, "all are connected")
    made.process.signal(signal.SIGTERM)
    eventually(lambda: not made.socket.exists(), "the door is closed")
    made.release()
    assert made.process.ended() == 0
    assert _failures([*in_hand, *queued]) == []


def test_on_sigterm_under_load_no_command_that_was_taken_is_lost(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=4)
    load = commands(made.run, 8)
    eventually(lambda: load.outcomes["placed"] > 100, "there is load")
    made.process.signal(signal.SIGTERM)
    assert made.process.ended() == 0
    outcomes = load.stop()
    assert [each for each in outcomes if each != "placed" and NOBODY not in each] == []


def test_a_good_configuration_takes_effect_on_sighup_and_nobody_notices(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=2)
    before = made.workers()
    (in_hand,) = made.occupy(1)
    load = commands(made.run, 4)
    made.configure(lambda text: text.replace("workers: 1", "workers: 3"))
    made.process.signal(signal.SIGHUP)
    eventually(lambda: len(made.workers() - before) == 3, "the new workers are there")
    assert not in_hand.done()
    made.release()
    assert in_hand.result() in before
    eventually(lambda: not made.workers() & before, "the old worker has gone", 3)
    outcomes = load.stop()
    assert list(outcomes) == ["placed"]


def test_a_longer_queue_takes_effect_on_sighup(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=1, queue=1)
    before = made.workers()
    made.configure(lambda text: text.replace("queue: 1", "queue: 6"))
    made.process.signal(signal.SIGHUP)
    eventually(lambda: made.workers() and not made.workers() & before, "the worker was replaced")
    in_hand, queued = made.occupy(1), [made.begin(f"queued-{number}") for number in range(6)]
    eventually(lambda: _connected(made) >= 7, "all are connected")
    made.release()
    assert _failures([*in_hand, *queued]) == []


@pytest.fixture(scope="module")
def steady(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2)


BAD: dict[str, Callable[[str], str]] = {
    "no YAML": lambda text: text + "\n: [",
    "an unknown key": lambda text: text + "\nsidecars: {}\n",
    "a bad value": lambda text: text.replace("workers: 2", "workers: -1"),
    "another socket": lambda text: text.replace("runner.sock", "other.sock"),
    "two documents": lambda text: text + "\n---\na: b\n",
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_configuration_is_reported_on_sighup_and_the_old_one_stays(steady: Pool, fault: str) -> None:
    before, said = steady.config.read_text(), steady.process.said().count(NOT_REREAD)
    steady.configure(BAD[fault])
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: steady.process.said().count(NOT_REREAD) > said, "it is reported")
    steady.await_whole()
    assert steady.run("afterwards") in steady.workers()
    assert steady.process.runs()
    steady.config.write_text(before)


def test_without_a_configuration_file_the_old_one_stays(steady: Pool) -> None:
    before, said = steady.config.read_text(), steady.process.said().count(NOT_REREAD)
    steady.config.unlink()
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: steady.process.said().count(NOT_REREAD) > said, "it is reported")
    steady.await_whole()
    steady.config.write_text(before)


def test_a_configuration_that_no_worker_can_be_built_with_leaves_the_old_one(steady: Pool) -> None:
    steady.order("unbuildable", "")
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: "no worker could be built with it" in steady.process.said(), "it is reported")
    steady.take_back("unbuildable")
    steady.await_whole()


def test_a_second_sidecar_on_the_same_socket_refuses_and_the_first_goes_on(steady: Pool, processes: Processes) -> None:
    workers = steady.workers()
    second = processes.sidecar(steady.config)
    assert second.ended() == exit_codes.CONFIGURATION
    assert "another runner already serves" in second.said()
    assert "Traceback" not in second.said()
    assert steady.run("afterwards") in workers


def test_a_key_that_is_none_is_reported_on_sighup_and_the_old_one_stays(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path], document: dict[str, Any]
) -> None:
    from runner.runtime.clock import SystemClock
    from runner.sidecar.client import Client

    config = write_config(tmp_path)
    sidecar, client = processes.sidecar(config), Client(str(tmp_path / "runner.sock"), SystemClock())
    eventually(lambda: _ready(client), "it is ready")
    write_config(tmp_path, runner={"id": "runner-1", "privateKey": "-----BEGIN NOTHING-----"})
    sidecar.signal(signal.SIGHUP)
    eventually(lambda: NOT_REREAD in sidecar.said(), "it is reported")
    assert eventually(lambda: _ready(client), "it still serves")
    assert document["runner"]["privateKey"] not in sidecar.said()


def test_a_stale_socket_file_does_not_matter(pool: Callable[..., Pool], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "runner.sock"))
    assert pool().run("any")


@pytest.mark.parametrize("place", ["file", "file/runner.sock", "directory"])
def test_a_path_that_no_socket_can_have_is_said_in_a_sentence(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path], place: str
) -> None:
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "directory").mkdir()
    sidecar = processes.sidecar(write_config(tmp_path, sidecar={"socket": str(tmp_path / place)}))
    assert sidecar.ended() == exit_codes.CONFIGURATION
    assert str(tmp_path / place) in sidecar.said()
    assert "Traceback" not in sidecar.said()
    assert (tmp_path / "file").read_text() == "somebody's"


def _failures(asked: list[Future[int]]) -> list[BaseException]:
    return [error for future in asked if (error := future.exception())]


def _ready(client: Any) -> bool:
    from runner.errors import OrchestratorError

    try:
        return bool(client.ping(time.monotonic() + 5))
    except OrchestratorError:
        return False


def _connected(made: Pool) -> int:
    """Our ends of connections to the pool: each shows up with the listener's path on the other end."""
    with open("/proc/net/unix") as sockets:
        lines = [line.split() for line in sockets if line.rstrip().endswith(str(made.socket))]
    return sum(1 for line in lines if line[3] == "00000000")
