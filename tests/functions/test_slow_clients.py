"""Slow clients: each costs one socket, and delays no other client."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import Server, send_slowly
from tests.harness.processes import eventually, limit_open_files, listens, lowest_free_descriptor
from tests.harness.wire import Answer, Connection, head, request

MANY = 250
"""Connections; many more than there are slots."""

SLOTS = 8
"""The slots of one worker: gunicorn's `threads` by default."""

AT_ONCE = 2.0
"""Seconds."""


@pytest.fixture(scope="module")
def beset(serve: Callable[..., Server], sidecar_socket: Path) -> Server:
    """A server of its own, since some connections are still open when the next test begins."""
    server = serve("functions.analysis:app", sidecar_socket)
    eventually(server.ready, "it is ready")
    return server


@pytest.fixture
def clients(beset: Server) -> Iterator[Callable[[bytes], list[Connection]]]:
    """Many connections on which the same bytes have been sent."""
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
def test_many_stalled_clients_delay_no_other_client(
    beset: Server, clients: Callable[[bytes], list[Connection]], sent: bytes
) -> None:
    clients(sent)
    began = time.monotonic()
    assert beset.get("/readyz").status == 200
    assert time.monotonic() - began < AT_ONCE


def test_a_head_that_arrives_byte_by_byte_is_served(beset: Server) -> None:
    with Connection(beset.port) as connection:
        for byte in head("GET", "/livez"):
            connection.send(bytes([byte]))
            assert not connection.hears(0.002) or byte == ord("\n")
        assert connection.answer().status == 200
        assert connection.ask(head("GET", "/livez")).status == 200


def test_a_kept_alive_connection_may_be_idle_and_pause_within_a_head(beset: Server) -> None:
    whole = head("GET", "/livez")
    with Connection(beset.port) as connection:
        refused = connection.ask(request("POST", "/tasks/analysis", b"{}"))
        assert (refused.status, refused.headers["connection"]) == (401, "keep-alive")
        assert not connection.hears(2.2)
        connection.send(whole[:10])
        assert not connection.hears(1.2)
        assert connection.ask(whole[10:]).status == 200


def test_an_unread_body_that_does_not_arrive_closes_the_connection(beset: Server) -> None:
    with Connection(beset.port) as connection:
        assert connection.ask(head("POST", "/tasks/analysis", {"Content-Length": 1000})).status == 401
        assert connection.hears(6)
        assert connection.at_end()


def test_after_the_last_response_the_server_closes_without_waiting_for_the_client(beset: Server) -> None:
    with Connection(beset.port) as connection:
        assert connection.ask(head("GET", "/livez", {"Connection": "close"})).status == 200
        assert connection.hears(1.5)
        assert connection.at_end()


def test_a_client_that_goes_on_sending_after_the_last_response_is_disconnected(beset: Server) -> None:
    with Connection(beset.port) as connection:
        endless = head("POST", "/tasks/analysis", {"Content-Length": 1 << 40, "Connection": "close"})
        assert connection.ask(endless).status == 401
        with pytest.raises(ConnectionError):
            connection.send(bytes(64 * 1024 * 1024))


def test_half_a_head_followed_by_the_end_closes_the_connection(beset: Server) -> None:
    with Connection(beset.port) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost")
        assert not connection.hears(0.1)
        connection.half_close()
        assert connection.at_end()


def test_a_client_over_the_connection_limit_takes_the_place_of_the_one_that_is_waited_for_longest(
    serve: Callable[..., Server], sidecar_socket: Path
) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket, "--worker-connections", "10"), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    with ExitStack() as stack:
        first, *others = (stack.enter_context(Connection(server.port)) for _ in range(10))
        assert first.ask(whole).status == 200
        for each in others:
            each.send(whole[:10])
        assert not any(each.hears(0.1) for each in others)
        late = [stack.enter_context(Connection(server.port)) for _ in range(3)]
        assert [each.ask(whole).status for each in late] == [200] * 3
        evicted = [each for each in (first, *others) if each.hears(0.5)]
        assert len(evicted) == 3
        assert first in evicted
        assert [each.ask(whole[10:]).status for each in others if each not in evicted] == [200] * 7


def test_a_slow_runner_delays_no_health_check(
    obedient: Server, token: Callable[..., str], sample: Callable[[str], dict[str, Any]]
) -> None:
    known = {"Authorization": f"Bearer {token()}"}
    with ExitStack() as stack:
        waiting = [stack.enter_context(Connection(obedient.port)) for _ in range(SLOTS + 1)]
        for each in waiting:
            run = sample("analysis") | {"run_id": f"wait-1500-{uuid.uuid4()}"}
            each.send(request("POST", "/tasks/analysis", json.dumps(run).encode(), known))
        assert not waiting[0].hears(0.5)
        assert (obedient.get("/livez").status, obedient.get("/readyz").status) == (200, 200)
        assert not any(each.hears(0) for each in waiting)
        assert [each.answer().status for each in waiting] == [201] * (SLOTS + 1)


def test_a_client_that_pipelines_many_requests_does_not_delay_another(beset: Server) -> None:
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
def test_a_client_that_sends_faster_than_it_is_read_delays_no_other_client(
    beset: Server, token: Callable[..., str], known: bool | None, sent: bytes
) -> None:
    """Its socket is always readable, so without a bound its greenlet would never yield."""
    headers = {"Authorization": f"Bearer {token()}"} if known else {}
    stop = threading.Event()
    with Connection(beset.port) as greedy, ThreadPoolExecutor() as pool:

        def send() -> None:
            with suppress(OSError):
                if known is not None:
                    greedy.send(head("POST", "/tasks/analysis", headers | {"Transfer-Encoding": "chunked"}))
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


def test_a_client_that_receives_late_delays_no_other_client_and_gets_every_response(beset: Server) -> None:
    nowhere, many = head("GET", "/nowhere"), 15_000
    with Connection(beset.port, buffer=65536) as deaf, ThreadPoolExecutor() as pool:
        sending = pool.submit(deaf.send, nowhere * many)
        eventually(deaf.received_so_far, "it is answered")
        time.sleep(0.5)  # until the sockets' buffers are full
        assert beset.get("/livez").status == 200
        assert [deaf.answer().status for _ in range(many)] == [404] * many
        sending.result()


def test_on_sigterm_connected_clients_are_served_and_silent_ones_disconnected(
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
        eventually(lambda: not _takes_connections(server), "the listener is closed")
        answers = [new.ask(whole), begun.ask(whole[10:]), kept.ask(whole)]
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")] * 3
        assert silent.at_end()
        assert sending.ask(task[-10:]).status == 201
        assert server.process.ended(10) == 0


def test_on_sigterm_the_backlog_is_accepted_and_served(serve: Callable[..., Server], sidecar_socket: Path) -> None:
    server, whole = serve("functions.analysis:app", sidecar_socket), head("GET", "/livez")
    eventually(server.ready, "it is ready")
    (worker,) = server.process.children()
    os.kill(worker, signal.SIGSTOP)
    with ExitStack() as stack:
        queued = [stack.enter_context(Connection(server.port)) for _ in range(20)]
        for each in queued:
            each.send(whole)
        server.process.signal(signal.SIGTERM)
        eventually(lambda: not listens(server.process.pid), "gunicorn's master has closed the listener")
        os.kill(worker, signal.SIGCONT)
        assert [each.answer().status for each in queued] == [200] * 20
        assert server.process.ended(10) == 0


def test_without_free_file_descriptors_a_worker_waits_until_there_are_some(
    serve: Callable[..., Server], sidecar_socket: Path
) -> None:
    server = serve("functions.analysis:app", sidecar_socket)
    eventually(server.ready, "it is ready")
    (worker,) = server.process.children()
    before = limit_open_files(worker, lowest_free_descriptor(worker))
    with Connection(server.port) as waiting:
        waiting.send(head("GET", "/livez"))
        eventually(
            lambda: "no connection could be accepted" in server.process.said(), "the worker has no file descriptors"
        )
        limit_open_files(worker, before)
        assert waiting.answer().status == 200


@pytest.fixture(scope="module")
def long_results(
    serve: Callable[..., Server],
    obedient_socket: Path,
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Iterator[tuple[Future[Any], Future[Any]]]:
    """The results of the two slow runs below, which are made at the same time: each lasts until a bound is reached."""
    known = {"Authorization": f"Bearer {token()}"}
    free, taken = (serve("functions.analysis:app", obedient_socket, "--threads", each) for each in ("8", "2"))
    for server in (free, taken):
        eventually(server.ready, "it is ready")
    with ThreadPoolExecutor() as pool:
        yield (
            pool.submit(_send_requests_as_a_body, free, known),
            pool.submit(_take_all_slots, taken, known, sample("analysis")),
        )


def _send_requests_as_a_body(server: Server, known: dict[str, Any]) -> list[list[Answer]]:
    """The answers to slow bodies that are sent on after they have timed out. Each piece of them is a valid request."""
    piece, began = head("GET", "/nowhere"), time.monotonic()
    with ExitStack() as stack:
        slow = [stack.enter_context(Connection(server.port)) for _ in range(6)]
        for each in slow:
            each.send(head("POST", "/tasks/analysis", known | {"Content-Length": 60_000}))
        while time.monotonic() < began + 13:
            for each in slow:
                with suppress(ConnectionError):
                    each.send(piece)
            time.sleep(0.5 if time.monotonic() < began + 11.5 else 0.003)  # in all less than a whole body
        return [each.answers_to_the_end() for each in slow]


def _take_all_slots(server: Server, known: dict[str, Any], sample: dict[str, Any]) -> list[tuple[int, float]]:
    """More requests than there are slots, with a slow runner: the status of each answer, and its seconds."""
    runs = [sample | {"run_id": f"wait-12000-{uuid.uuid4()}"} for _ in range(6)]
    whole = [request("POST", "/tasks/analysis", json.dumps(run).encode(), known) for run in runs]
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(send_slowly, server.port, each, b"") for each in whole]
        return [(each.result().answer.status, each.result().seconds) for each in slow]


def test_what_follows_a_body_that_timed_out_is_not_a_request(long_results: tuple[Future[Any], Future[Any]]) -> None:
    for answers in long_results[0].result():
        assert [(each.status, each.headers["connection"]) for each in answers] == [(504, "close")]


def test_a_request_without_a_slot_is_refused_within_the_deadline(long_results: tuple[Future[Any], Future[Any]]) -> None:
    """Otherwise requests would queue behind a slow runner, and be answered after their clients have gone."""
    answers = long_results[1].result()
    assert {status for status, _ in answers} <= {429, 504}
    assert max(seconds for _, seconds in answers) < 11.5


def _takes_connections(server: Server) -> bool:
    try:
        with Connection(server.port):
            return True
    except ConnectionRefusedError:
        return False
