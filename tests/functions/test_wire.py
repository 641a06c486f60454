"""HTTP from hostile or careless clients: no part of one request is ever read as another request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import Server
from tests.harness.processes import Processes, free_port
from tests.harness.wire import Connection, chunked, head, request

PATH = "/tasks/analysis"
Payload = Callable[..., dict[str, Any]]


@pytest.fixture
def known(token: Callable[..., str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token()}"}


@pytest.fixture
def body(payload: Payload) -> bytes:
    return json.dumps(payload()).encode()


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer_Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 0x4",
        "Content-Length: 4\r\n folded",
        "Content-Length : 4",
        "Host: other",
        "Content-Type: application/json\r\nContent-Type: application/json",
        "X-Line: a\nX-Other: b",
        "X-Nul: \x00",
        "no header",
        ": nameless",
    ],
)
def test_ambiguous_headers_are_refused_and_what_follows_is_not_served(bundle: Server, lines: str) -> None:
    smuggled = head("GET", "/livez")
    with Connection(bundle.port) as connection:
        connection.send(f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n".encode("latin-1") + smuggled)
        answer = connection.answer()
        assert answer.status in (400, 501)
        assert connection.at_end()


def test_chunks_in_http_1_0_are_refused(bundle: Server, known: dict[str, str], body: bytes) -> None:
    old = head("POST", PATH, known | {"Transfer-Encoding": "chunked"}).replace(b"HTTP/1.1", b"HTTP/1.0")
    with Connection(bundle.port) as connection:
        assert connection.ask(old + chunked(body)).status == 400


def test_two_authorization_headers_are_refused(bundle: Server, known: dict[str, str], body: bytes) -> None:
    twice = head("POST", PATH, known | {"authorization": known["Authorization"], "Content-Length": len(body)})
    with Connection(bundle.port) as connection:
        assert connection.ask(twice + body).problem["code"] == "unauthenticated"


def test_a_header_with_an_underscore_does_not_replace_the_one_with_a_dash(bundle: Server) -> None:
    with Connection(bundle.port) as connection:
        answer = connection.ask(head("GET", "/livez", {"X_Request_ID": "spoofed"}))
    assert answer.headers["x-request-id"] != "spoofed"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head("GET", "/" + "a" * 2048), 414),
        (head("GET", "/livez", {"X-Long": "a" * 16384}), 431),
        (head("GET", "/livez", {f"X-{number}": "a" for number in range(64)}), 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"get /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /li\x00vez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    ],
    ids=["long line", "long header", "many headers", "HTTP/2", "bare LF", "HTTP/0.9", "small letters", "NUL", "TLS"],
)
def test_bytes_that_are_not_a_valid_request_are_refused(bundle: Server, data: bytes, status: int) -> None:
    with Connection(bundle.port) as connection:
        assert connection.ask(data).status == status
        assert connection.at_end()


def test_pipelined_requests_are_answered_in_order(bundle: Server, known: dict[str, str], payload: Payload) -> None:
    bodies = [payload() for _ in range(3)]
    sent = [request("POST", PATH, json.dumps(each).encode(), known) for each in bodies]
    with Connection(bundle.port) as connection:
        connection.send(b"".join([sent[0], head("GET", "/livez"), *sent[1:]]))
        answers = [connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [201, 200, 201, 201]
    names = [answers[index].json["jobs"][0]["name"] for index in (0, 2, 3)]
    assert names == [f"analysis-s0-{each['run_id']}-1" for each in bodies]


def test_a_response_arrives_in_one_segment(bundle: Server, known: dict[str, str], body: bytes) -> None:
    with Connection(bundle.port) as connection:
        for count, asked in enumerate((request("POST", PATH, body, known), request("POST", PATH), head("GET", "/")), 1):
            connection.ask(asked)
            assert connection.segments() == count


def test_a_proxy_s_headers_do_not_change_a_request(bundle: Server) -> None:
    """By default gunicorn trusts these headers from clients on the same host."""
    headers = {"SCRIPT_NAME": "/tasks", "PATH_INFO": "/livez", "X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on"}
    with Connection(bundle.port) as connection:
        for name, value in headers.items():
            assert connection.ask(head("GET", "/livez", {name: value})).status == 200
        assert connection.ask(head("GET", "/tasks", {"SCRIPT_NAME": "/tasks"})).status == 404
        contradicting = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}
        assert connection.ask(head("GET", "/livez", contradicting)).status == 200


def test_gunicorn_does_not_start_with_a_certificate(processes: Processes, sidecar_socket: Path) -> None:
    some = "gunicorn.conf.py"  # any file that exists
    refusing = processes.gunicorn(
        "functions.analysis:app", free_port(), sidecar_socket, "--certfile", some, "--keyfile", some
    )
    assert refusing.ended(10) == 1
    assert "let the ingress end it" in refusing.log.read_text()


def test_a_client_that_half_closes_after_its_request_gets_its_answer(
    bundle: Server, known: dict[str, str], body: bytes
) -> None:
    with Connection(bundle.port) as connection:
        connection.send(request("POST", PATH, body, known))
        connection.half_close()
        assert connection.answer().status == 201
        assert connection.at_end()


def test_a_client_that_closes_without_reading_does_no_harm(
    bundle: Server, known: dict[str, str], payload: Payload
) -> None:
    bodies = [json.dumps(payload()).encode() for _ in range(20)]
    for each in bodies:
        with Connection(bundle.port) as connection:
            connection.send(request("POST", PATH, each, known))
    with Connection(bundle.port) as connection:
        answers = [connection.ask(request("POST", PATH, each, known)) for each in bodies]
    assert {answer.status for answer in answers} <= {200, 201}


@pytest.mark.parametrize("size", [1000, 60_000, 300_000])
def test_the_body_of_a_refused_request_is_not_read_as_the_next_one(bundle: Server, size: int) -> None:
    disguised = head("GET", "/tasks/nothing").ljust(size, b" ")
    with Connection(bundle.port) as connection:
        refused = connection.ask(request("POST", PATH, disguised))
        assert refused.problem["code"] == "unauthenticated"
        try:
            connection.send(head("GET", "/livez"))
            following = connection.answer()
        except (EOFError, ConnectionError):
            return  # a closed connection is correct, too
        assert (following.status, following.json) == (200, {"status": "ok"})
