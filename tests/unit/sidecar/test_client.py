"""runner.sidecar.client: what it asks of the sidecar, and how often."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.errors import Timeout, Unavailable
from runner.runtime.clock import SystemClock
from runner.sidecar import frames
from runner.sidecar.client import Client, receive_frame
from tests.deadlines import within

MANY = 20


class Sidecar:
    """Answers pings, once it may; counts them."""

    def __init__(self, path: Path) -> None:
        self.asked = 0
        self.ready = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(MANY)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                receive_frame(connection, within(10))
                self.asked += 1
                self.ready.wait(10)
                connection.sendall(frames.encode(frames.Pong(drivers=("memory",), pid=self.asked)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runner.sock"


@pytest.fixture
def sidecar(path: Path) -> Sidecar:
    return Sidecar(path)


def test_of_those_who_ask_at_the_same_time_whether_it_is_ready_one_asks(path: Path, sidecar: Sidecar) -> None:
    """Each would be a command of its own, and has the clusters asked."""
    client = Client(str(path), SystemClock())
    with ThreadPoolExecutor(MANY) as callers:
        asking = [callers.submit(client.ping, time.monotonic() + 10) for _ in range(MANY)]
        time.sleep(0.2)
        sidecar.ready.set()
        assert {each.result().pid for each in asking} == {1}
    assert [client.ping(time.monotonic() + 10).pid for _ in range(3)] == [2, 3, 4]


def test_each_waits_as_long_as_it_has_time(path: Path, sidecar: Sidecar) -> None:
    client = Client(str(path), SystemClock())
    with ThreadPoolExecutor(1) as patient:
        waits = patient.submit(client.ping, time.monotonic() + 10)
        time.sleep(0.1)
        with pytest.raises(Timeout, match="repeat"):
            client.ping(time.monotonic() + 0.1)
        assert not waits.done()
        sidecar.ready.set()
        assert waits.result().pid == 1


def test_nobody_there_is_said_to_each_and_asked_anew_by_the_next(path: Path) -> None:
    client = Client(str(path), SystemClock())
    for _ in range(2):
        with pytest.raises(Unavailable, match="no runner listens"):
            client.ping(time.monotonic() + 5)
    Sidecar(path).ready.set()
    assert client.ping(time.monotonic() + 5).pid == 1
