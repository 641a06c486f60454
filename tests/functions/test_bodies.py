"""Bodies: chunked, too large, of another length than declared, cut off, and slow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from runner.payloads import MAX_BODY
from tests.functions.conftest import Server
from tests.harness.wire import Answer, Connection, chunked, head, request

pytestmark = pytest.mark.usefixtures("slowly")  # starts the slow requests now, so that `test_too_slow` waits less

PATH = "/tasks/analysis"
Payload = Callable[..., dict[str, Any]]


@pytest.fixture
def headers(token: Callable[..., str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}


@pytest.fixture
def chunked_headers(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"Transfer-Encoding": "chunked"}


@pytest.fixture
def body(payload: Payload) -> bytes:
    return json.dumps(payload()).encode()


def test_a_request_of_two_megabytes_is_accepted(bundle: Server, headers: dict[str, str], payload: Payload) -> None:
    task = payload("autofix_run")
    occurrence = {"path": "src/a.py", "position": {"begin": {"line": 1, "column": 2}, "end": {"line": 3, "column": 4}}}
    task["autofixer"]["autofixes"] = [{"issue_code": "PYL-1", "occurrences": [occurrence] * 25_000}]
    body = json.dumps(task).encode()
    assert len(body) > 2_000_000
    with Connection(bundle.port) as connection:
        assert connection.ask(request("POST", "/tasks/autofix", body, headers)).status == 201


@pytest.mark.parametrize("size", [1, 7, 1024, 100_000])
def test_a_chunked_body_is_read_with_chunks_of_any_size(
    bundle: Server, chunked_headers: dict[str, str], body: bytes, size: int
) -> None:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    with Connection(bundle.port) as connection:
        assert connection.ask(head("POST", PATH, chunked_headers) + chunked(*chunks)).status == 201


def test_a_chunked_body_may_arrive_in_pieces_with_extensions_and_trailers(
    bundle: Server, chunked_headers: dict[str, str], body: bytes
) -> None:
    with Connection(bundle.port) as connection:
        connection.send(head("POST", PATH, chunked_headers))
        for piece in (b"%x;a=b\r\n" % len(body), body[:100], body[100:], b"\r\n0\r\n", b"X-Sum: 1\r\n\r\n"):
            connection.send(piece)
        assert connection.answer().status == 201


def test_after_a_chunked_body_the_connection_serves_the_next_request(
    bundle: Server, chunked_headers: dict[str, str], body: bytes
) -> None:
    one = head("POST", PATH, chunked_headers) + chunked(body)
    with Connection(bundle.port) as connection:
        assert [connection.ask(one).status, connection.ask(one).status] == [201, 200]


def test_a_chunked_body_over_the_bound_is_too_large(bundle: Server, chunked_headers: dict[str, str]) -> None:
    chunk = b" " * 65536
    with Connection(bundle.port) as connection:
        connection.send(head("POST", PATH, chunked_headers))
        for _ in range(MAX_BODY // len(chunk) + 1):
            connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        refused(connection.answer(), 413, "too_large")


@pytest.mark.parametrize(
    "broken",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2;\x00\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
        b"5\r\n{}",
        b"2\r\n{}\r\n",
        b"",
    ],
    ids=[
        "no size", "negative size", "size with 0x", "no end of chunk", "bad extension", "forbidden trailer",
        "broken trailer", "short chunk", "no last chunk", "nothing",
    ],
)  # fmt: skip
def test_a_broken_chunked_body_is_malformed_and_ends_the_connection(
    bundle: Server, chunked_headers: dict[str, str], broken: bytes
) -> None:
    with Connection(bundle.port) as connection:
        connection.send(head("POST", PATH, chunked_headers) + broken)
        connection.half_close()
        refused(connection.answer(), 400, "malformed")
        assert connection.at_end()


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**12, 10**30])
def test_an_oversized_length_is_refused_before_anything_is_read(
    bundle: Server, headers: dict[str, str], length: int
) -> None:
    began = time.monotonic()
    with Connection(bundle.port) as connection:
        refused(connection.ask(head("POST", PATH, headers | {"Content-Length": str(length)})), 413, "too_large")
    assert time.monotonic() - began < 5


def test_an_oversized_body_sent_with_its_head_still_gets_its_answer(bundle: Server, headers: dict[str, str]) -> None:
    with Connection(bundle.port) as connection:
        with suppress(ConnectionError):  # the server answers and closes before the whole body is sent
            connection.send(request("POST", PATH, b" " * (MAX_BODY + 1), headers))
        refused(connection.answer(), 413, "too_large")


def test_a_body_of_exactly_the_bound_is_read(bundle: Server, headers: dict[str, str]) -> None:
    with Connection(bundle.port) as connection:
        refused(connection.ask(request("POST", PATH, b" " * MAX_BODY, headers)), 400, "malformed")


def test_a_body_shorter_than_its_length_is_malformed_once_the_client_has_half_closed(
    bundle: Server, headers: dict[str, str], body: bytes
) -> None:
    with Connection(bundle.port) as connection:
        connection.send(head("POST", PATH, headers | {"Content-Length": str(len(body) + 1)}) + body)
        connection.half_close()
        answer = connection.answer()
        refused(answer, 400, "malformed")
        assert f"{len(body)} of {len(body) + 1} bytes" in answer.problem["detail"]
        assert connection.at_end()


def test_bytes_after_the_declared_length_are_not_part_of_the_body(
    bundle: Server, headers: dict[str, str], body: bytes
) -> None:
    with Connection(bundle.port) as connection:
        answer = connection.ask(
            head("POST", PATH, headers | {"Content-Length": str(len(body))}) + body + b"more\r\n\r\n"
        )
        assert answer.status == 201
        assert connection.answer().status == 400
        assert connection.at_end()


def test_expect_100_continue_is_answered_before_the_body(bundle: Server, headers: dict[str, str], body: bytes) -> None:
    expecting = headers | {"Content-Length": str(len(body)), "Expect": "100-continue"}
    with Connection(bundle.port) as connection:
        assert connection.ask(head("POST", PATH, expecting)).status == 100
        assert connection.ask(body).status == 201


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.problem["code"]) == (status, code)
