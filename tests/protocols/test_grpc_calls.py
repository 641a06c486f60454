"""Single calls: tokens, deadlines, request ids, and calls that are not valid."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from functions.grpc.errors import MAX_DETAILS, field_path
from tests.protocols.conftest import GrpcClient, message, refusal
from tests.protocols.corpus import ANALYSIS, check
from tests.protocols.http2 import Http2, framed

Token = Callable[..., str]


@pytest.fixture
def authorized(token: Token) -> tuple[str, str]:
    return ("authorization", f"Bearer {token()}")


def ask(client: GrpcClient, run: str, *metadata: tuple[str, str], **options: Any) -> Any:
    request = message("analysis_run", ANALYSIS | {"run_id": run})
    return client.call("analysis_run").with_call(request, metadata=metadata, **{"timeout": 10, **options})


def test_without_a_token_a_call_is_unauthenticated(grpc_client: GrpcClient, run: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(grpc_client, run)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refusal(refused.value).code == "unauthenticated"


@pytest.mark.parametrize("claims", [{"exp": 1}, {"algorithm": "none", "key": ""}, {"exp": None}])
def test_a_token_that_is_not_atlas_s_is_refused(grpc_client: GrpcClient, run: str, token: Token, claims: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(grpc_client, run, ("authorization", f"Bearer {token(**claims)}"))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_for_another_runner_is_forbidden(grpc_client: GrpcClient, run: str, token: Token) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(grpc_client, run, ("authorization", f"Bearer {token(runner_id='another')}"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_two_authorization_headers_are_refused(grpc_client: GrpcClient, run: str, authorized: tuple[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(grpc_client, run, authorized, authorized)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_caller_is_refused_before_the_message_is_read(grpc_port: int) -> None:
    with Http2(grpc_port) as client:
        stream = client.start()
        assert client.answer(stream).status == "16"  # without a byte of a message


def test_a_valid_request_id_is_echoed_and_another_is_replaced(
    grpc_client: GrpcClient, authorized: tuple[str, str]
) -> None:
    _, given = ask(grpc_client, str(uuid.uuid4()), authorized, ("x-request-id", "trace-1"))
    _, made = ask(grpc_client, str(uuid.uuid4()), authorized, ("x-request-id", "a b"))
    assert dict(given.initial_metadata())["x-request-id"] == "trace-1"
    assert len(dict(made.initial_metadata())["x-request-id"]) == 32


def test_a_call_whose_deadline_has_passed_creates_no_job(
    grpc_client: GrpcClient, grpc_port: int, run: str, token: Token
) -> None:
    with Http2(grpc_port) as client:
        stream = client.start(("authorization", f"Bearer {token()}"), ("grpc-timeout", "0m"))
        client.send(stream, framed(message("analysis_run", ANALYSIS | {"run_id": run}).SerializeToString()), end=True)
        assert client.answer(stream).status == "4"
    assert grpc_client.send("analysis_run", ANALYSIS | {"run_id": run}).jobs == ((f"analysis-s0-{run}-1", "created"),)


def test_the_client_s_deadline_bounds_the_call(grpc_port: int, token: Token) -> None:
    """Over a raw connection, on which the server ends the call, not the client's library."""
    began = time.monotonic()
    with Http2(grpc_port) as client:
        stream = client.start(("authorization", f"Bearer {token()}"), ("grpc-timeout", "300m"))
        slow = message("analysis_run", ANALYSIS | {"run_id": f"wait-3000-{uuid.uuid4().hex[:8]}"})
        client.send(stream, framed(slow.SerializeToString()), end=True)
        assert client.answer(stream).status == "4"
    assert 0.25 < time.monotonic() - began < 2


@pytest.mark.parametrize("timeout", ["1", "s", "1s", "123456789S", "-1S", "1.5S", "²S"])
def test_an_invalid_timeout_is_refused(grpc_port: int, timeout: str) -> None:
    with Http2(grpc_port) as client:
        assert client.answer(client.start(("grpc-timeout", timeout), end=True)).status == "3"


@pytest.mark.parametrize(
    ("headers", "http", "status"),
    [
        ({":path": "/orchestrator.v1.Tasks/Nothing"}, "200", "12"),
        ({":path": "/"}, "200", "12"),
        ({":path": ""}, "200", "12"),
        ({":method": "GET"}, "405", "2"),
        ({":method": ""}, "405", "2"),
        ({"content-type": "application/json"}, "415", "2"),
        ({"content-type": "application/grpc+json"}, "415", "2"),
        ({"content-type": ""}, "415", "2"),
    ],
    ids=repr,
)
def test_a_call_that_the_contract_does_not_have_is_refused(
    grpc_port: int, headers: dict[str, str], http: str, status: str
) -> None:
    pseudo = {name[1:]: value for name, value in headers.items() if name.startswith(":")}
    more = [(name, value) for name, value in headers.items() if not name.startswith(":")]
    with Http2(grpc_port) as client:
        answer = client.answer(client.start(*more, end=True, **pseudo))
        assert (answer.headers[":status"], answer.status) == (http, status)
        assert client.answer(client.start(end=True)).status == "16"  # the connection lives on


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", "3"),
        (framed(b"")[:3], "3"),
        (framed(b"abc", size=10), "3"),
        (framed(b"\xff\xff\xff"), "3"),
        (framed(b"\x0a\x02\xff\xfe"), "3"),
        (framed(b"") + framed(b""), "3"),
        (framed(b"", compressed=1), "12"),
        (framed(b"", size=4 * 1024 * 1024 + 1), "8"),
        (framed(b"", size=2**32 - 1), "8"),
    ],
    ids=[
        "no message", "half a prefix", "a short message", "no protobuf", "text that is not UTF-8", "two messages",
        "compressed", "one byte too large", "4 GiB",
    ],
)  # fmt: skip
def test_a_bad_message_is_refused_and_the_connection_stays_open(
    grpc_port: int, authorized: tuple[str, str], sent: bytes, status: str
) -> None:
    with Http2(grpc_port) as client:
        for _ in range(2):
            stream = client.start(authorized)
            client.send(stream, sent, end=True)
            assert client.answer(stream).status == status


def test_an_undecodable_header_fails_no_call(grpc_port: int, authorized: tuple[str, str]) -> None:
    with Http2(grpc_port) as client:
        odd = [("x-odd", "ü\x01"), ("x-odd-bin", "!!"), ("grpc-unknown", "1"), ("user-agent", "")]
        stream = client.start(authorized, *odd)
        client.send(stream, framed(b""), end=True)
        assert client.answer(stream).status == "3"


def test_empty_data_frames_are_skipped(grpc_port: int, authorized: tuple[str, str], run: str) -> None:
    data = framed(message("analysis_run", ANALYSIS | {"run_id": run}).SerializeToString())
    with Http2(grpc_port) as client:
        stream = client.start(authorized)
        for piece in (b"", data[:3], b"", data[3:100], b"", data[100:]):
            client.send(stream, piece)
        client.send(stream, b"", end=True)
        assert client.answer(stream).status == "0"


def test_many_bad_fields_are_named_within_the_size_that_clients_accept(grpc_client: GrpcClient) -> None:
    checks = [check(check_seq="x", analyzer_meta={}) for _ in range(256)]
    outcome = grpc_client.send("analysis_run", ANALYSIS | {"checks": checks})
    assert outcome.code == "invalid"
    assert len(outcome.fields) > 40
    assert sum(map(len, outcome.fields)) < MAX_DETAILS


@pytest.mark.parametrize(
    ("pointer", "path"),
    [
        ("", ""),
        ("/run_id", "run_id"),
        ("/checks/0/check_seq", "checks[0].check_seq"),
        ("/_meta/resource_pool", "meta.resource_pool"),
        ("/artifacts/patch_ids/a~1b.py/0", 'artifacts.patch_ids["a/b.py"][0]'),
    ],
)
def test_a_pointer_is_written_as_a_field_s_path(pointer: str, path: str) -> None:
    assert field_path(pointer) == path


def test_no_error_repeats_a_secret_of_the_request(grpc_client: GrpcClient, authorized: tuple[str, str]) -> None:
    secret = "hunter2hunter2"
    bad = ANALYSIS | {"run_id": "../x", "internal_token": secret, "keys": {"ssh": {"private": secret}}}
    bad["vcs_meta"] = bad["vcs_meta"] | {"remote_url": f"ftp://user:{secret}@example.org/a/b"}
    with pytest.raises(grpc.RpcError) as refused:
        grpc_client.call("analysis_run")(message("analysis_run", bad), metadata=[authorized])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert secret not in repr(refused.value)
    assert secret not in repr(refused.value.trailing_metadata())
