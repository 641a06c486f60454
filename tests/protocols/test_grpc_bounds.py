"""Bounds on what one client may make the server do, and other clients' calls meanwhile."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hyperframe.frame import RstStreamFrame

from functions.grpc.session import ALLOWANCE, MAX_HEADERS
from tests.harness.processes import Process, eventually
from tests.protocols.conftest import GrpcClient
from tests.protocols.corpus import ANALYSIS
from tests.protocols.http2 import Http2, framed

ENHANCE_YOUR_CALM = 11
IDLE = 2000


@pytest.fixture
def others(grpc_client: GrpcClient, run: str) -> Iterator[None]:
    """After the test, another client's call succeeds."""
    yield
    assert grpc_client.send("analysis_run", ANALYSIS | {"run_id": run}).jobs


@pytest.fixture
def authorized(token: Callable[..., str]) -> tuple[str, str]:
    return ("authorization", f"Bearer {token()}")


@pytest.mark.usefixtures("others")
def test_a_flood_of_resets_ends_its_connection_and_nothing_else(grpc_server: tuple[int, Process]) -> None:
    port, process = grpc_server
    for _ in range(3):
        with Http2(port) as client:
            for _ in range(20 * int(ALLOWANCE)):
                stream = client.start()
                client.h2._data_to_send += RstStreamFrame(stream).serialize()
                client.h2.streams.pop(stream)
                if client.closed:
                    break
            assert client.until_closed()
    assert process.runs()


@pytest.mark.usefixtures("others")
def test_occasional_resets_are_allowed(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        for _ in range(50):
            client.reset(client.start(authorized))
        stream = client.start(authorized)
        client.send(stream, framed(b""), end=True)
        assert client.answer(stream).status == "3"


@pytest.mark.usefixtures("others")
def test_a_flood_of_pings_gets_enhance_your_calm(grpc_port: int) -> None:
    with Http2(grpc_port) as client:
        for _ in range(2 * int(ALLOWANCE)):
            client.ping()
            if client.closed:
                break
        assert client.until_closed()


def _frame(kind: int, flags: int = 0, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + body


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "frame",
    [_frame(0xEE), _frame(4, 1), _frame(6, 1, b"12345678"), _frame(8, 0, b"\0\0\0\1"), _frame(7, 0, bytes(8))],
    ids=["unknown", "settings acknowledged", "ping acknowledged", "window update", "goaway"],
)
def test_a_flood_of_other_frames_ends_its_connection_and_delays_no_other(
    grpc_port: int, authorized: tuple[str, str], frame: bytes
) -> None:
    with Http2(grpc_port) as flooding, Http2(grpc_port) as other, ThreadPoolExecutor() as pool:

        def flood() -> None:
            with suppress(OSError):
                while True:
                    flooding.socket.sendall(frame * 30_000)

        sending = pool.submit(flood)
        began = time.monotonic()
        for _ in range(20):
            stream = other.start(authorized)
            other.send(stream, framed(b""), end=True)
            assert other.answer(stream).status == "3"
        assert time.monotonic() - began < 2
        sending.result(10)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("way", ["ping", "window", "empty end"])
def test_a_client_may_ping_and_open_its_window_with_each_call(
    grpc_port: int, authorized: tuple[str, str], way: str
) -> None:
    """As grpc-go and .NET do, on one connection for all their calls."""
    with Http2(grpc_port) as client:
        for _ in range(int(1.5 * ALLOWANCE)):
            stream = client.start(authorized)
            client.send(stream, framed(b""), end=way != "empty end")
            if way == "empty end":
                client.send(stream, b"", end=True)
            assert client.answer(stream).status == "3"
            if way == "ping":
                client.ping()
            elif way == "window":
                client.socket.sendall(_frame(8, 0, b"\0\0\0\1") * 2)


@pytest.mark.usefixtures("others")
def test_a_client_that_sends_goaway_has_its_calls_answered(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        stream = client.start(authorized)
        client.socket.sendall(_frame(7, 0, bytes(8)))
        client.send(stream, framed(b""), end=True)
        assert client.answer(stream).status == "3"


@pytest.mark.usefixtures("others")
def test_headers_over_the_bound_fail_their_call_only(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        stream = client.start(authorized, ("x-large", "a" * MAX_HEADERS), end=True)
        assert client.answer(stream).status == "8"
        stream = client.start(authorized)
        client.send(stream, framed(b""), end=True)
        assert client.answer(stream).status == "3"


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("headers", [("x-large", "a" * 300_000), ("a" * 70_000, "b")], ids=["value", "name"])
def test_headers_far_over_the_bound_end_the_connection(grpc_port: int, headers: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        client.start(headers, end=True)
        assert client.until_closed()


@pytest.mark.usefixtures("others")
def test_an_oversized_message_is_refused_before_it_is_read(
    grpc_server: tuple[int, Process], authorized: tuple[str, str]
) -> None:
    port, process = grpc_server
    before = memory(process)
    clients = [Http2(port) for _ in range(20)]
    for client in clients:
        stream = client.start(authorized)
        client.send(stream, framed(b"x" * 100_000, size=2**31))
        assert client.answer(stream).status == "8"
        client.socket.close()
    assert memory(process) - before < 16


@pytest.mark.usefixtures("others")
def test_the_largest_message_is_read(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        stream = client.start(authorized)
        client.send(stream, framed(b"\xff" * (4 * 1024 * 1024)), end=True)
        assert client.answer(stream).status == "3"


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff",
    ],
    ids=["HTTP/1.1", "TLS", "no frames", "broken compression"],
)
def test_bytes_that_are_not_http2_end_the_connection(grpc_port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", grpc_port), timeout=10) as connection:
        connection.sendall(sent)
        while connection.recv(65536):
            pass


@pytest.mark.usefixtures("others")
def test_frames_of_unknown_types_are_ignored(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        client.socket.sendall(b"\x00\x00\x03\x42\x00\x00\x00\x00\x00abc")
        stream = client.start(authorized)
        client.send(stream, framed(b""), end=True)
        assert client.answer(stream).status == "3"


def test_two_thousand_idle_connections_are_held_while_others_are_served(
    grpc_server: tuple[int, Process], grpc_client: GrpcClient, run: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * IDLE), hard))
    port, process = grpc_server
    before, connections = memory(process), []
    try:
        for _ in range(IDLE):
            connections.append(Http2(port))
        eventually(lambda: open_files(process.pid) > IDLE, "all are accepted")
        began = time.monotonic()
        assert grpc_client.send("analysis_run", ANALYSIS | {"run_id": run}).jobs
        assert time.monotonic() - began < 2
        assert (memory(process) - before) / IDLE < 0.1, "MiB for each"
        with connections[0] as first:
            assert first.answer(first.start(end=True)).status == "16"
    finally:
        for connection in connections:
            connection.socket.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: open_files(process.pid) < 100, "all are closed")


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(process: Process) -> float:
    """MiB of resident memory."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.usefixtures("others")
def test_a_frame_of_the_largest_length_ends_its_connection_and_leaves_no_traceback(
    grpc_server: tuple[int, Process],
) -> None:
    port, process = grpc_server
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4) + b"\xff\xff\xff" + bytes(5) + b"\1")
        while client.recv(65536):
            pass
    assert '"level":"error"' not in process.said()
    assert "Traceback" not in process.said()
    assert '"code":"frame_size_error"' in process.said()
