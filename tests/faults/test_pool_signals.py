"""The sidecar's reaction to SIGTERM and SIGHUP, and to a socket path that is in use or invalid."""

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
from tests.harness.processes import Processes, eventually

NOT_LISTENING = "no runner listens"
NOT_REREAD = "the configuration was not reread"


def test_on_sigterm_commands_in_flight_or_queued_are_finished(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=1, queue=8)
    in_flight = made.occupy(2)
    queued = [made.submit(f"queued-{number}") for number in range(6)]
    eventually(lambda: _connected(made) >= 8, "all are connected")
    made.process.signal(signal.SIGTERM)
    eventually(lambda: not made.socket.exists(), "the listener is closed")
    made.release()
    assert made.process.ended() == 0
    assert _failures([*in_flight, *queued]) == []


def test_on_sigterm_under_load_no_accepted_command_is_lost(pool: Callable[..., Pool]) -> None:
    made = pool(workers=2, threads=4)
    load = commands(made.run, 8)
    eventually(lambda: load.outcomes["accepted"] > 100, "there is load")
    made.process.signal(signal.SIGTERM)
    assert made.process.ended() == 0
    outcomes = load.stop()
    assert [each for each in outcomes if each != "accepted" and NOT_LISTENING not in each] == []


def test_a_valid_configuration_takes_effect_on_sighup_without_a_failed_command(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=2)
    before = made.workers()
    (in_flight,) = made.occupy(1)
    load = commands(made.run, 4)
    made.configure(lambda text: text.replace("workers: 1", "workers: 3"))
    made.process.signal(signal.SIGHUP)
    eventually(lambda: len(made.workers() - before) == 3, "the new workers are there")
    assert not in_flight.done()
    made.release()
    assert in_flight.result() in before
    eventually(lambda: not made.workers() & before, "the old worker has ended", 3)
    outcomes = load.stop()
    assert list(outcomes) == ["accepted"]


def test_a_longer_queue_takes_effect_on_sighup(pool: Callable[..., Pool]) -> None:
    made = pool(workers=1, threads=1, queue=1)
    before = made.workers()
    made.configure(lambda text: text.replace("queue: 1", "queue: 6"))
    made.process.signal(signal.SIGHUP)
    eventually(lambda: made.workers() and not made.workers() & before, "the worker was replaced")
    in_flight, queued = made.occupy(1), [made.submit(f"queued-{number}") for number in range(6)]
    eventually(lambda: _connected(made) >= 7, "all are connected")
    made.release()
    assert _failures([*in_flight, *queued]) == []


@pytest.fixture(scope="module")
def steady(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2)


INVALID: dict[str, Callable[[str], str]] = {
    "no YAML": lambda text: text + "\n: [",
    "an unknown key": lambda text: text + "\nsidecars: {}\n",
    "an invalid value": lambda text: text.replace("workers: 2", "workers: -1"),
    "another socket": lambda text: text.replace("runner.sock", "other.sock"),
    "two documents": lambda text: text + "\n---\na: b\n",
}


@pytest.mark.parametrize("fault", INVALID)
def test_an_invalid_configuration_is_reported_on_sighup_and_the_old_one_stays(steady: Pool, fault: str) -> None:
    before, reported = steady.config.read_text(), steady.process.said().count(NOT_REREAD)
    steady.configure(INVALID[fault])
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: steady.process.said().count(NOT_REREAD) > reported, "it is reported")
    steady.await_complete()
    assert steady.run("afterwards") in steady.workers()
    assert steady.process.runs()
    steady.config.write_text(before)


def test_without_a_configuration_file_the_old_one_stays(steady: Pool) -> None:
    before, reported = steady.config.read_text(), steady.process.said().count(NOT_REREAD)
    steady.config.unlink()
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: steady.process.said().count(NOT_REREAD) > reported, "it is reported")
    steady.await_complete()
    steady.config.write_text(before)


def test_a_configuration_that_no_worker_can_be_built_with_leaves_the_old_one(steady: Pool) -> None:
    steady.write_file("unbuildable", "")
    steady.process.signal(signal.SIGHUP)
    eventually(lambda: "no worker could be built with it" in steady.process.said(), "it is reported")
    steady.remove_file("unbuildable")
    steady.await_complete()


def test_a_second_sidecar_on_the_same_socket_exits_and_the_first_continues(steady: Pool, processes: Processes) -> None:
    workers = steady.workers()
    second = processes.sidecar(steady.config)
    assert second.ended() == exit_codes.CONFIGURATION
    assert "another runner already serves" in second.said()
    assert "Traceback" not in second.said()
    assert steady.run("afterwards") in workers


def test_an_invalid_key_is_reported_on_sighup_and_the_old_one_stays(
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


def test_a_stale_socket_file_is_replaced(pool: Callable[..., Pool], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "runner.sock"))
    assert pool().run("any")


@pytest.mark.parametrize("place", ["file", "file/runner.sock", "directory"])
def test_an_invalid_socket_path_is_reported_without_a_traceback(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path], place: str
) -> None:
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "directory").mkdir()
    sidecar = processes.sidecar(write_config(tmp_path, sidecar={"socket": str(tmp_path / place)}))
    assert sidecar.ended() == exit_codes.CONFIGURATION
    assert str(tmp_path / place) in sidecar.said()
    assert "Traceback" not in sidecar.said()
    assert (tmp_path / "file").read_text() == "somebody's"


def _failures(submitted: list[Future[int]]) -> list[BaseException]:
    return [error for future in submitted if (error := future.exception())]


def _ready(client: Any) -> bool:
    from runner.errors import OrchestratorError

    try:
        return bool(client.ping(time.monotonic() + 5))
    except OrchestratorError:
        return False


def _connected(made: Pool) -> int:
    """The number of open connections to the pool: the server's end of each has the listener's path."""
    with open("/proc/net/unix") as sockets:
        lines = [line.split() for line in sockets if line.rstrip().endswith(str(made.socket))]
    return sum(1 for line in lines if line[3] == "00000000")
