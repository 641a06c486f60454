"""runner.sidecar.client: one ping at a time, whose result concurrent callers share."""

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
from tests.harness.deadlines import within

MANY = 20


class Sidecar:
    """Counts pings, and answers them once `ready` is set."""

    def __init__(self, path: Path) -> None:
        self.pings = 0
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
                self.pings += 1
                self.ready.wait(10)
                connection.sendall(frames.encode(frames.Pong(drivers=("memory",), pid=self.pings)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runner.sock"


@pytest.fixture
def sidecar(path: Path) -> Sidecar:
    return Sidecar(path)


def test_concurrent_pings_are_one_command(path: Path, sidecar: Sidecar) -> None:
    """Each command would have the drivers send requests to their clusters."""
    client = Client(str(path), SystemClock())
    with ThreadPoolExecutor(MANY) as callers:
        pings = [callers.submit(client.ping, time.monotonic() + 10) for _ in range(MANY)]
        time.sleep(0.2)
        sidecar.ready.set()
        assert {each.result().pid for each in pings} == {1}
    assert [client.ping(time.monotonic() + 10).pid for _ in range(3)] == [2, 3, 4]


def test_each_caller_waits_until_its_own_deadline(path: Path, sidecar: Sidecar) -> None:
    client = Client(str(path), SystemClock())
    with ThreadPoolExecutor(1) as threads:
        longer = threads.submit(client.ping, time.monotonic() + 10)
        time.sleep(0.1)
        with pytest.raises(Timeout, match="repeat"):
            client.ping(time.monotonic() + 0.1)
        assert not longer.done()
        sidecar.ready.set()
        assert longer.result().pid == 1


def test_a_failed_ping_is_not_cached(path: Path) -> None:
    client = Client(str(path), SystemClock())
    for _ in range(2):
        with pytest.raises(Unavailable, match="no runner listens"):
            client.ping(time.monotonic() + 5)
    Sidecar(path).ready.set()
    assert client.ping(time.monotonic() + 5).pid == 1
