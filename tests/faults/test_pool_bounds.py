"""How much the pool takes on, for how long, and how evenly."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from runner.errors import Busy, Timeout
from runner.sidecar import frames
from tests.faults.conftest import Door, Pool
from tests.processes import Process, eventually

AT_ONCE = 2.0


@pytest.fixture(scope="module")
def narrow(lasting_pool: Callable[..., Pool]) -> Pool:
    """One command at a time; three may wait."""
    return lasting_pool(workers=1, threads=1, queue=3)


@pytest.fixture(scope="module")
def wide(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2, threads=16)


def test_a_full_queue_is_busy_at_once(narrow: Pool) -> None:
    waiting = _fill(narrow)
    began = time.monotonic()
    with pytest.raises(Busy) as caught:
        narrow.run("one-more")
    assert time.monotonic() - began < AT_ONCE
    assert caught.value.retry_after
    assert not narrow.in_hand("one-more")
    narrow.release()
    assert {future.result() for future in waiting} == narrow.workers()


def test_a_full_queue_is_429_with_a_time_to_come_back(
    narrow: Pool, lasting_door: Callable[..., tuple[Door, Process]]
) -> None:
    opened, _ = lasting_door(narrow.socket, workers=1)
    opened.post()  # so that the functions know whose tokens to take
    waiting = _fill(narrow)
    began = time.monotonic()
    answer = opened.post()
    assert time.monotonic() - began < AT_ONCE
    assert (answer.status, answer.body["code"]) == (429, "busy")
    assert int(answer.headers["retry-after"]) >= 1
    narrow.release()
    wait(waiting)


def test_a_command_that_takes_too_long_is_a_timeout_at_its_deadline(wide: Pool) -> None:
    began = time.monotonic()
    with pytest.raises(Timeout) as caught:
        wide.run("wait-3000-x", seconds=0.5)
    assert 0.5 <= time.monotonic() - began < 2
    assert caught.value.retry_after


def test_a_command_that_waited_past_its_deadline_is_never_begun(narrow: Pool) -> None:
    narrow.occupy(1)
    with pytest.raises(Timeout):
        narrow.run("too-late", seconds=0.3)
    narrow.release()
    narrow.run("afterwards")  # has waited behind it in the queue
    assert not narrow.in_hand("too-late")


@pytest.mark.parametrize("size", [100, 8_000_000], ids=["small", "larger than the socket's buffer"])
def test_whatever_its_size_a_command_that_nobody_takes_is_a_timeout_at_its_deadline(narrow: Pool, size: int) -> None:
    in_hand = narrow.occupy(1)
    frame = frames.Submit(request_type="analysis_run", request=b"x" * size, deadline=0, trace_id="")
    began = time.monotonic()
    with pytest.raises(Timeout):
        narrow.client._call(frame, frames.Accepted, began + 0.5)
    assert 0.5 <= time.monotonic() - began < 2
    narrow.release()
    wait(in_hand)


def test_the_load_spreads_over_the_workers_however_the_clients_connect(
    wide: Pool,
    lasting_door: Callable[..., tuple[Door, Process]],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> None:
    opened, _ = lasting_door(wide.socket, workers=2, threads=16)
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}

    def converse(client: int) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", opened.port, timeout=30)
        try:
            return [_driver(connection, headers, sample("analysis"), f"wait-5-{client}-{each}") for each in range(13)]
        finally:
            connection.close()

    with ThreadPoolExecutor(32) as clients:
        served = Counter(driver for drivers in clients.map(converse, range(32)) for driver in drivers)
    assert served.total() == 32 * 13
    assert set(served) == {f"worker-{pid}" for pid in wide.workers()}
    assert all(0.3 <= count / served.total() <= 0.7 for count in served.values())


def _driver(
    connection: http.client.HTTPConnection, headers: dict[str, str], sample: dict[str, Any], run_id: str
) -> str:
    connection.request("POST", "/tasks/analysis", json.dumps({**sample, "run_id": run_id}), headers)
    answer = connection.getresponse()
    (job,) = json.loads(answer.read())["jobs"]
    return str(job["driver"])


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x05hello", b"\xff\xff\xff\xff", b"\x00\x00\x10\x00half"],
    ids=["nothing", "HTTP", "no frame", "an endless frame", "half a frame"],
)
def test_what_is_no_command_harms_nobody(wide: Pool, sent: bytes) -> None:
    workers = wide.workers()
    for _ in range(6):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(wide.socket))
            stranger.sendall(sent)
    assert wide.run("afterwards") in workers


def test_one_user_s_socket_is_closed_to_others(wide: Pool) -> None:
    assert wide.socket.stat().st_mode & 0o777 == 0o600


def _fill(narrow: Pool) -> list[Future[int]]:
    """Occupy its worker, and have as many wait as may."""
    in_hand = narrow.occupy(1)
    waiting = [narrow.begin(f"waiting-{number}") for number in range(3)]
    eventually(lambda: _queued(narrow) == 3, "three wait")
    return [*in_hand, *waiting]


def _queued(made: Pool) -> int:
    """Connections that no worker has accepted yet, as the kernel counts them."""
    with open("/proc/net/unix") as sockets:
        lines = [line.split() for line in sockets if line.rstrip().endswith(str(made.socket))]
    # A line for the listener (flag 00010000), one for each end that was connected to it and is still open; those that
    # wait have no inode yet (net/unix/af_unix.c, unix_seq_show).
    return sum(1 for line in lines if line[3] == "00000000" and line[6] == "0")
