"""The bounds of the pool: the length of its queue, its deadlines, and the distribution of load over its workers."""

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
from tests.faults.conftest import FunctionsClient, Pool
from tests.harness.processes import Process, eventually

AT_ONCE_SECONDS = 2.0


@pytest.fixture(scope="module")
def narrow(lasting_pool: Callable[..., Pool]) -> Pool:
    """A pool that carries out one command at a time. Three more may wait."""
    return lasting_pool(workers=1, threads=1, queue=3)


@pytest.fixture(scope="module")
def wide(lasting_pool: Callable[..., Pool]) -> Pool:
    return lasting_pool(workers=2, threads=16)


def test_a_command_for_a_full_queue_is_busy_at_once(narrow: Pool) -> None:
    waiting = _fill(narrow)
    began = time.monotonic()
    with pytest.raises(Busy) as caught:
        narrow.run("one-more")
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert caught.value.retry_after
    assert not narrow.started_by("one-more")
    narrow.release()
    assert {future.result() for future in waiting} == narrow.workers()


def test_a_request_for_a_full_queue_is_429_with_retry_after(
    narrow: Pool, lasting_functions: Callable[..., tuple[FunctionsClient, Process]]
) -> None:
    client, _ = lasting_functions(narrow.socket, workers=1)
    client.post()  # so that the functions have the request policy
    waiting = _fill(narrow)
    began = time.monotonic()
    answer = client.post()
    assert time.monotonic() - began < AT_ONCE_SECONDS
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


def test_a_command_that_waited_past_its_deadline_is_never_started(narrow: Pool) -> None:
    narrow.occupy(1)
    with pytest.raises(Timeout):
        narrow.run("too-late", seconds=0.3)
    narrow.release()
    narrow.run("afterwards")  # it is behind the late command in the queue
    assert not narrow.started_by("too-late")


@pytest.mark.parametrize("size", [100, 8_000_000], ids=["small", "larger than the socket's buffer"])
def test_a_command_of_any_size_that_no_worker_accepts_is_a_timeout_at_its_deadline(narrow: Pool, size: int) -> None:
    in_flight = narrow.occupy(1)
    frame = frames.Submit(request_type="analysis_run", request=b"x" * size, deadline=0, trace_id="")
    began = time.monotonic()
    with pytest.raises(Timeout):
        narrow.client._call(frame, frames.Accepted, began + 0.5)
    assert 0.5 <= time.monotonic() - began < 2
    narrow.release()
    wait(in_flight)


def test_load_is_distributed_over_the_workers(
    wide: Pool,
    lasting_functions: Callable[..., tuple[FunctionsClient, Process]],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> None:
    client, _ = lasting_functions(wide.socket, workers=2, threads=16)
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}

    def converse(number: int) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
        try:
            return [_driver(connection, headers, sample("analysis"), f"wait-5-{number}-{each}") for each in range(13)]
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
def test_an_invalid_frame_does_not_disturb_the_pool(wide: Pool, sent: bytes) -> None:
    workers = wide.workers()
    for _ in range(6):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(wide.socket))
            connection.sendall(sent)
    assert wide.run("afterwards") in workers


def test_only_its_owner_may_use_the_socket(wide: Pool) -> None:
    assert wide.socket.stat().st_mode & 0o777 == 0o600


def _fill(narrow: Pool) -> list[Future[int]]:
    """Occupy the worker and fill the queue."""
    in_flight = narrow.occupy(1)
    waiting = [narrow.submit(f"waiting-{number}") for number in range(3)]
    eventually(lambda: _queued(narrow) == 3, "three commands wait")
    return [*in_flight, *waiting]


def _queued(made: Pool) -> int:
    """The number of connections that no worker has accepted yet, from the kernel's table of sockets."""
    with open("/proc/net/unix") as sockets:
        lines = [line.split() for line in sockets if line.rstrip().endswith(str(made.socket))]
    # The listener has one line (flag 00010000), and so has the server's end of each open connection. Before a
    # connection is accepted, that end has no inode (net/unix/af_unix.c, unix_seq_show).
    return sum(1 for line in lines if line[3] == "00000000" and line[6] == "0")
