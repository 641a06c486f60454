"""Clients that keep us waiting: each costs a socket, and nobody else notices."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import gevent
import pytest

from functions.http import worker as http_worker
from runner.runtime import concurrency
from runner.runtime.clock import SystemClock
from tests.functions.conftest import Server, send_slowly
from tests.processes import eventually, limit_open_files, listens, lowest_free_descriptor
from tests.wire import Answer, Connection, head, request

MANY = 250
"""More than have their turn at once, by far."""

TURNS = 8
"""So many have it at once."""

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


def test_a_kept_connection_may_pause(beset: Server) -> None:
    whole = head("GET", "/livez")
    with Connection(beset.port) as connection:
        refused = connection.ask(request("POST", "/tasks/analysis", b"{}"))
        assert (refused.status, refused.headers["connection"]) == (401, "keep-alive")
        assert not connection.hears(2.2)
        connection.send(whole[:10])
        assert not connection.hears(1.2)
        assert connection.ask(whole[10:]).status == 200


def test_a_body_that_nobody_wants_is_not_waited_for(beset: Server) -> None:
    with Connection(beset.port) as connection:
        assert connection.ask(head("POST", "/tasks/analysis", {"Content-Length": 1000})).status == 401
        assert connection.hears(6)
        assert connection.at_end()


def test_the_end_is_said_at_once_and_waited_for_by_nobody(beset: Server) -> None:
    with Connection(beset.port) as connection:
        assert connection.ask(head("GET", "/livez", {"Connection": "close"})).status == 200
        assert connection.hears(1.5)
        assert connection.at_end()


def test_whoever_sends_on_and_on_after_the_last_answer_is_cut_off(beset: Server) -> None:
    with Connection(beset.port) as connection:
        endless = head("POST", "/tasks/analysis", {"Content-Length": 1 << 40, "Connection": "close"})
        assert connection.ask(endless).status == 401
        with pytest.raises(ConnectionError):
            connection.send(bytes(64 * 1024 * 1024))


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


def test_a_slow_runner_delays_no_health_check(
    obedient: Server, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> None:
    known = {"Authorization": f"Bearer {token()}"}
    with ExitStack() as stack:
        waiting = [stack.enter_context(Connection(obedient.port)) for _ in range(TURNS + 1)]
        for each in waiting:
            run = sample("analysis") | {"run_id": f"wait-1500-{uuid.uuid4()}"}
            each.send(request("POST", "/tasks/analysis", json.dumps(run).encode(), known))
        assert not waiting[0].hears(0.5)
        assert (obedient.get("/livez").status, obedient.get("/readyz").status) == (200, 200)
        assert not any(each.hears(0) for each in waiting)
        assert [each.answer().status for each in waiting] == [201] * (TURNS + 1)


def test_a_client_that_sends_without_waiting_leaves_others_their_turn(beset: Server) -> None:
    whole, many = head("GET", "/livez"), 2000
    with Connection(beset.port) as greedy, Connection(beset.port) as modest:
        greedy.send(whole * many)
        assert greedy.answer().status == 200
        assert modest.ask(whole).status == 200
        waiting = greedy.received_so_far()
        assert b"HTTP" in waiting
        assert waiting.count(b"HTTP") < many - 1
        assert [greedy.answer().status for _ in range(many - 1)] == [200] * (many - 1)


@pytest.mark.parametrize(
    ("known", "sent"),
    [
        (True, b"1\r\n \r\n" * 150_000),
        (False, (b"1;a=" + b"x" * 8000 + b"\r\n \r\n") * 130),
        (None, head("GET", "/livez") * 20_000),
    ],
    ids=["a body that is read", "one that is skipped", "requests"],
)
def test_a_client_that_sends_faster_than_it_is_read_delays_nobody(
    beset: Server, token: Callable[..., str], known: bool | None, sent: bytes
) -> None:
    """Its socket is always ready, so nothing would ever be waited for."""
    who = {"Authorization": f"Bearer {token()}"} if known else {}
    stop = threading.Event()
    with Connection(beset.port) as greedy, ThreadPoolExecutor() as pool:

        def send() -> None:
            with suppress(OSError):
                if known is not None:
                    greedy.send(head("POST", "/tasks/analysis", who | {"Transfer-Encoding": "chunked"}))
                while not stop.is_set():
                    greedy.send(sent)

        sending, draining = pool.submit(send), pool.submit(greedy.drain)
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(3):
            assert beset.get("/livez").status == 200
        took = time.monotonic() - began
        stop.set()
        greedy.abort()
        sending.result()
        draining.result()
    assert took < AT_ONCE


def test_a_client_that_takes_no_100_continue_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn sends it by `send`, on a socket that looks to it as if it blocked."""
    monkeypatch.setattr(http_worker, "SENDING_SECONDS", 0.3)
    told: list[Any] = []

    def worker() -> None:
        concurrency.cooperate(threads=1)
        near, far = socket.socketpair()
        with far, http_worker._Socket(near.family, near.type, near.proto, fileno=near.detach()) as deaf:
            deaf.clock = SystemClock()
            other = gevent.spawn(gevent.sleep, 0.1)
            try:
                while deaf.send(bytes(1 << 20)):
                    pass
            except BrokenPipeError:
                told.append(other.successful())

    thread = threading.Thread(target=worker, daemon=True)
    thread.start()
    thread.join(10)
    assert told == [True]


def test_a_client_that_takes_no_answers_delays_nobody_and_gets_them_in_the_end(beset: Server) -> None:
    nowhere, many = head("GET", "/nowhere"), 15_000
    with Connection(beset.port, buffer=65536) as deaf, ThreadPoolExecutor() as pool:
        sending = pool.submit(deaf.send, nowhere * many)
        eventually(deaf.received_so_far, "it is answered")
        time.sleep(0.5)  # until nothing more fits between us
        assert beset.get("/livez").status == 200
        assert [deaf.answer().status for _ in range(many)] == [404] * many
        sending.result()


def test_told_to_stop_a_function_serves_whoever_is_connected_and_waits_for_nobody_long(
    serve: Callable[..., Server],
    sidecar_socket: Path,
    payload: Callable[..., dict[str, Any]],
    token: Callable[..., str],
) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    with ExitStack() as stack:
        new, begun, kept, silent, sending = (stack.enter_context(Connection(server.port)) for _ in range(5))
        begun.send(whole[:10])
        task = request(
            "POST", "/tasks/analysis", json.dumps(payload()).encode(), {"Authorization": f"Bearer {token()}"}
        )
        sending.send(task[:-10])
        assert kept.ask(whole).status == 200
        server.process.signal(signal.SIGTERM)
        eventually(lambda: not _takes_connections(server), "the door is closed")
        answers = [new.ask(whole), begun.ask(whole[10:]), kept.ask(whole)]
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 3
        assert silent.at_end()
        assert sending.ask(task[-10:]).status == 201
        assert server.process.ended(10) == 0


def test_told_to_stop_a_function_serves_whoever_has_knocked(serve: Callable[..., Server], sidecar_socket: Path) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    (worker,) = server.process.children()
    os.kill(worker, signal.SIGSTOP)
    with ExitStack() as stack:
        knocking = [stack.enter_context(Connection(server.port)) for _ in range(20)]
        for each in knocking:
            each.send(whole)
        server.process.signal(signal.SIGTERM)
        eventually(lambda: not listens(server.process.pid), "its master has closed the door")
        os.kill(worker, signal.SIGCONT)
        assert [each.answer().status for each in knocking] == [200] * 20
        assert server.process.ended(10) == 0


def test_without_file_descriptors_a_function_waits_until_there_are_some(
    serve: Callable[..., Server], sidecar_socket: Path
) -> None:
    server = serve("functions.analysis:app", sidecar_socket)
    eventually(server.ready, "it is ready")
    (worker,) = server.process.children()
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    with Connection(server.port) as starved:
        starved.send(head("GET", "/livez"))
        eventually(lambda: "no connection could be accepted" in server.process.said(), "the worker starves")
        limit_open_files(worker, before)
        assert starved.answer().status == 200


@pytest.fixture(scope="module")
def drawn_out(
    serve: Callable[..., Server], obedient_socket: Path, token: Callable[..., str]
) -> Iterator[tuple[Future[Any], Future[Any]]]:
    """Both of what follows, at the same time: each takes as long as patience does."""
    known = {"Authorization": f"Bearer {token()}"}
    free, taken = (serve("functions.analysis:app", obedient_socket, "--threads", each) for each in ("8", "2"))
    for server in (free, taken):
        eventually(server.ready, "it is ready")
    with ThreadPoolExecutor() as pool:
        yield pool.submit(_send_requests_as_a_body, free, known), pool.submit(_take_all_turns, taken, known)


def _send_requests_as_a_body(server: Server, known: dict[str, Any]) -> list[list[Answer]]:
    """What is answered where a body drips, and goes on after it has been given up: all of it looks like requests."""
    piece, began = head("GET", "/nowhere"), time.monotonic()
    with ExitStack() as stack:
        dripping = [stack.enter_context(Connection(server.port)) for _ in range(6)]
        for each in dripping:
            each.send(head("POST", "/tasks/analysis", known | {"Content-Length": 60_000}))
        while time.monotonic() < began + 13:
            for each in dripping:
                with suppress(ConnectionError):
                    each.send(piece)
            time.sleep(0.5 if time.monotonic() < began + 11.5 else 0.003)  # all in all it is no whole body
        return [each.answers_to_the_end() for each in dripping]


def _take_all_turns(server: Server, known: dict[str, Any]) -> list[tuple[int, float]]:
    """Of more bodies that drip than have their turn at once, what is answered, and when."""
    whole = head("POST", "/tasks/analysis", known | {"Content-Length": 60_000})
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(send_slowly, server.port, whole, b" ") for _ in range(6)]
        return [(each.result().answer.status, each.result().seconds) for each in slow]


def test_what_follows_a_body_that_was_cut_off_is_no_request(drawn_out: tuple[Future[Any], Future[Any]]) -> None:
    for answers in drawn_out[0].result():
        assert [(each.status, each.headers["connection"]) for each in answers] == [(504, "close")]


def test_whoever_gets_no_turn_in_time_is_told_so_in_time(drawn_out: tuple[Future[Any], Future[Any]]) -> None:
    """Or atlas would wait for one slow body after the other, and we work for those who have gone."""
    answers = drawn_out[1].result()
    assert sorted(status for status, _ in answers) == [429] * 4 + [504] * 2
    assert max(seconds for status, seconds in answers if status == 429) < 11.5
    assert max(seconds for _, seconds in answers) < 13


def _takes_connections(server: Server) -> bool:
    try:
        with Connection(server.port):
            return True
    except ConnectionRefusedError:
        return False
