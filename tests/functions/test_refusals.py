"""What the server refuses by itself looks like every other error, and leaves one line in the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from functions.refusals import PER_SECOND
from tests.functions.conftest import Server
from tests.harness.processes import eventually
from tests.harness.wire import Answer, Connection, head, request

PATH = "/tasks/analysis"
LENGTH = "Content-Length: 2\r\n"


def raw(lines: str, *, host: str = "Host: a\r\n", line: str = f"POST {PATH} HTTP/1.1") -> bytes:
    return f"{line}\r\n{host}{lines}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (raw("Transfer-Encoding: unknown\r\n"), 501, "not_implemented"),
        (raw("Transfer-Encoding: zstd, chunked\r\n"), 501, "not_implemented"),
        (raw(LENGTH, host="") + b"{}", 400, "malformed"),
        (raw("", host="", line="GET /livez HTTP/1.1"), 400, "malformed"),
        (raw("X: " + "a" * 17_000 + "\r\n"), 431, "headers_too_large"),
        (raw("".join(f"X-{number}: a\r\n" for number in range(70))), 431, "headers_too_large"),
        (raw("Expect: x\r\n" + LENGTH), 417, "expectation_failed"),
        (raw("", line=f"GET /{'a' * 3000} HTTP/1.1"), 414, "uri_too_long"),
        (raw("", line="GET / HTTP/3.7"), 400, "malformed"),
        (raw("X\r\n"), 400, "malformed"),
        (raw("", line="PUT /livez HTTP/1.1"), 405, "method_not_allowed"),
        (raw("", line="GET //livez HTTP/1.1"), 404, "not_found"),
        (raw("", line="GET /nothing HTTP/1.1"), 404, "not_found"),
    ],
)
def test_a_refusal_of_the_server_is_problem_json_with_a_request_id(
    bundle: Server, sent: bytes, status: int, code: str
) -> None:
    with Connection(bundle.port) as connection:
        answer = connection.ask(sent)
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert answer.problem["request_id"]


@pytest.fixture
def known(token: Callable[..., str]) -> str:
    return f"Authorization: Bearer {token()}\r\n"


@pytest.mark.parametrize(
    ("lines", "body", "status", "code"),
    [
        ("", b"", 411, "length_required"),
        (f"Content-Encoding: br\r\n{LENGTH}", b"{}", 415, "unsupported_media_type"),
        (f"Content-Encoding: gzip, identity\r\n{LENGTH}", b"{}", 415, "unsupported_media_type"),
        ("Transfer-Encoding: chunked\r\n", b"2\n", 400, "malformed"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\n", 400, "malformed"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\n", 400, "malformed"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nX: a\n", 400, "malformed"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\nX: a\n\n", 400, "malformed"),
    ],
)
def test_a_refusal_after_the_token_is_problem_json_and_comes_at_once(
    bundle: Server, known: str, lines: str, body: bytes, status: int, code: str
) -> None:
    """None of these waits for the rest of a body, which never comes."""
    with Connection(bundle.port) as connection:
        connection.send(raw(known + lines) + body)
        assert connection.hears(5)
        answer = connection.answer()
    assert (answer.status, answer.problem["code"]) == (status, code)


def test_identity_is_no_encoding(post: Callable[..., Answer], payload: Callable[..., dict[str, Any]]) -> None:
    assert post(payload(), Content_Encoding="Identity").status == 201


@pytest.mark.parametrize(
    "path", ["//tasks/analysis", "/tasks//analysis", "/apps//tasks/analysis", "/%2Ftasks/analysis"]
)
def test_an_empty_segment_is_served_nowhere(
    post: Callable[..., Answer], payload: Callable[..., dict[str, Any]], path: str
) -> None:
    assert post(payload(), path).problem["code"] == "not_found"


@pytest.mark.parametrize(
    ("status", "code", "sent"),
    [
        (401, "unauthenticated", request("POST", PATH, b"{}", {"X-Request-ID": "refused-401"})),
        (404, "not_found", head("GET", "/nothing?secret=1", {"X-Request-ID": "refused-404"})),
        (405, "method_not_allowed", head("GET", PATH, {"X-Request-ID": "refused-405"})),
    ],
)
def test_each_refusal_leaves_one_line_in_the_log(bundle: Server, status: int, code: str, sent: bytes) -> None:
    with Connection(bundle.port) as connection:
        assert connection.ask(sent).status == status
    (line,) = eventually(lambda: _lines(bundle, f"refused-{status}"), "it is logged")
    assert (line["status"], line["code"], line["protocol"]) == (status, code, "http")
    assert line["path"] in (PATH, "/nothing")
    assert line["peer"].startswith("127.0.0.1:")
    assert line["milliseconds"] >= 0


def test_a_refusal_before_the_application_leaves_a_line_as_well(bundle: Server) -> None:
    with Connection(bundle.port) as connection:
        refused = connection.ask(raw("Expect: x\r\n" + LENGTH)).problem["request_id"]
    (line,) = eventually(lambda: _lines(bundle, refused), "it is logged")
    assert (line["status"], line["code"], line["protocol"]) == (417, "expectation_failed", "http")


def test_a_flood_of_refusals_is_counted(bundle: Server) -> None:
    before = len(bundle.process.said())
    with Connection(bundle.port) as connection:
        connection.send(head("GET", "/flood") * 3000)
        assert {connection.answer().status for _ in range(3000)} == {404}
    eventually(lambda: '"count":' in bundle.process.said()[before:], "the rest is counted")
    lines = [json.loads(line) for line in bundle.process.said()[before:].splitlines()]
    written = [line for line in lines if line.get("path") == "/flood"]
    counted = [line["count"] for line in lines if "count" in line]
    assert len(written) <= (1 + len(counted)) * PER_SECOND + PER_SECOND
    assert len(written) + sum(counted) <= 3000
    assert counted


def _lines(server: Server, named: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in server.process.said().splitlines() if named in line)
    return [line for line in lines if line["logger"] == "orchestrator.refusals"]
