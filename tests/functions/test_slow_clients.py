"""Clients that keep us waiting: each costs a socket, and nobody else notices."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.functions.conftest import Server
from tests.processes import eventually
from tests.wire import Connection, head

MANY = 250
"""More than there are threads, by far."""

AT_ONCE = 2.0


@pytest.fixture(scope="module")
def beset(serve: Callable[..., Server], sidecar_socket: Path) -> Server:
    """A function of its own, since not all of this would be over when the next test begins."""
    server = serve("functions.analysis:app", sidecar_socket)
    eventually(server.ready, "it is ready")
    return server


@pytest.fixture
def clients(beset: Server) -> Iterator[Callable[[bytes], list[Connection]]]:
    """Many connections on which the same has been sent."""
    with ExitStack() as stack:

        def connect(sent: bytes) -> list[Connection]:
            made = [stack.enter_context(Connection(beset.port)) for _ in range(MANY)]
            for each in made:
                each.send(sent)
            return made

        yield connect


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        b"POST /tasks/analysis HTTP/1.1\r\nHost: a\r\nX-Endless: ",
        head("POST", "/tasks/analysis", {"Content-Length": 1000}),
        head("POST", "/tasks/analysis", {"Transfer-Encoding": "chunked"}) + b"10\r\n",
        head("GET", "/livez", {"Connection": "close"}),
    ],
    ids=["nothing", "one byte", "half a head", "no body", "half a chunk", "a last request"],
)
def test_many_clients_that_go_no_further_delay_nobody(
    beset: Server, clients: Callable[[bytes], list[Connection]], sent: bytes
) -> None:
    clients(sent)
    began = time.monotonic()
    assert beset.get("/readyz").status == 200
    assert time.monotonic() - began < AT_ONCE


def test_a_head_that_comes_byte_by_byte_is_served_in_the_end(beset: Server) -> None:
    with Connection(beset.port) as connection:
        for byte in head("GET", "/livez"):
            connection.send(bytes([byte]))
            assert not connection.hears(0.002) or byte == ord("\n")
        assert connection.answer().status == 200
        assert connection.ask(head("GET", "/livez")).status == 200


def test_half_a_head_and_then_the_end_is_the_end(beset: Server) -> None:
    with Connection(beset.port) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost")
        assert not connection.hears(0.1)
        connection.half_close()
        assert connection.at_end()


def test_whoever_comes_while_there_are_as_many_connections_as_may_be_waits_until_one_ends(
    serve: Callable[..., Server], sidecar_socket: Path
) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket, "--worker-connections", "10"), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    with ExitStack() as stack:
        first, *others = (stack.enter_context(Connection(server.port)) for _ in range(10))
        for each in others:
            each.send(whole[:10])
        assert first.ask(whole).status == 200
        late = [stack.enter_context(Connection(server.port)) for _ in range(3)]
        for each in late:
            each.send(whole)
        assert not any(each.hears(0.3) for each in late)
        for each in others:
            each.half_close()
        assert [each.answer().status for each in late] == [200] * 3


def test_told_to_stop_a_function_serves_whoever_is_connected_and_waits_for_nobody_long(
    serve: Callable[..., Server], sidecar_socket: Path
) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    with ExitStack() as stack:
        new, begun, kept, silent = (stack.enter_context(Connection(server.port)) for _ in range(4))
        begun.send(whole[:10])
        assert kept.ask(whole).status == 200
        server.process.signal(signal.SIGTERM)
        eventually(lambda: not _takes_connections(server), "the door is closed")
        answers = [new.ask(whole), begun.ask(whole[10:]), kept.ask(whole)]
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 3
        assert silent.at_end()
        assert server.process.ended(10) == 0


def _takes_connections(server: Server) -> bool:
    try:
        with Connection(server.port):
            return True
    except ConnectionRefusedError:
        return False
