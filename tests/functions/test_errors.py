"""The error table over HTTP: every code, from the runner or from the function itself, as problem+json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runner.errors import TABLE
from tests.functions.conftest import Server
from tests.harness.wire import Answer

Post = Callable[..., Answer]
Payload = Callable[..., dict[str, Any]]

RETRYABLE = {"busy", "unavailable", "timeout", "internal"}


@pytest.mark.parametrize("code", TABLE)
def test_every_error_of_the_runner_is_answered_as_the_table_says(
    obedient: Server, post: Post, payload: Payload, code: str
) -> None:
    answer = post(payload(run_id=f"raise-{code}-{'x' * 8}"), port=obedient.port)
    assert (answer.status, answer.problem["code"], answer.problem["title"]) == (
        TABLE[code].http,
        code,
        TABLE[code].title,
    )
    assert answer.problem["detail"] == "the run's id demands this error"
    assert ("retry-after" in answer.headers) == (code in RETRYABLE)
    assert ("www-authenticate" in answer.headers) == (code == "unauthenticated")
    assert answer.problem.get("errors") == (
        [{"pointer": "/run_id", "message": "is not wanted"}] if code == "invalid" else None
    )


def test_an_unexpected_exception_is_internal_and_not_described(obedient: Server, post: Post, payload: Payload) -> None:
    answer = post(payload(run_id="raise-defect-x"), port=obedient.port)
    assert (answer.status, answer.problem["code"]) == (500, "internal")
    assert "RuntimeError" not in answer.body.decode()
    assert "the run's id demands this error" not in answer.body.decode()


def test_after_an_internal_error_the_next_request_is_served(obedient: Server, post: Post, payload: Payload) -> None:
    post(payload(run_id="raise-defect-y"), port=obedient.port)
    assert post(payload(), port=obedient.port).status == 201


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"\xff\xfe{}", 400, "malformed"),
        (b"[" * 65 + b"]" * 65, 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"{}", 422, "invalid"),
    ],
)
def test_a_body_that_is_no_request_is_refused(post: Post, body: bytes, status: int, code: str) -> None:
    answer = post(body)
    assert (answer.status, answer.problem["code"]) == (status, code)


def test_all_bad_fields_are_named_not_only_the_first(post: Post, payload: Payload) -> None:
    answer = post(payload(run_id="../x", run_serial="one", checks=[]))
    assert answer.status == 422
    assert {each["pointer"] for each in answer.problem["errors"]} == {"/run_id", "/run_serial", "/checks"}
    assert all(each["message"] for each in answer.problem["errors"])


@pytest.mark.parametrize("size", [24_000, 404_000])
def test_an_answer_is_bounded_however_much_is_wrong(post: Post, payload: Payload, size: int) -> None:
    metadata = {"K" * (size // 4): [[]], **{f"{number}": [] for number in range(size // 12)}}
    check = {**payload()["checks"][0], "artifacts": [{"metadata": metadata}]}
    answer = post(payload(checks=[check]))
    assert (answer.status, answer.problem["code"]) == (422, "invalid")
    assert len(answer.body) <= 64 * 1024
    assert all(len(error["pointer"]) < 300 for error in answer.problem["errors"])


def test_a_lone_surrogate_and_a_null_in_a_map_refuse_nothing(post: Post, payload: Payload) -> None:
    commit = {"commit_oid": "7d8dd9f8f0b1", "paths": ["caf\udce9.py"]}
    check = {**payload()["checks"][0], "diff_meta_commits": [commit]}
    assert post(payload(checks=[check], _meta={"trace": None})).status == 201


@pytest.mark.parametrize("version", [2**64, 10**399])
def test_a_number_over_64_bits_is_refused(post: Post, payload: Payload, version: int) -> None:
    answer = post(payload(config={"version": version}))
    assert answer.status == 422
    assert {error["pointer"] for error in answer.problem["errors"]} == {"/config/version"}


def test_another_request_under_a_known_name_is_a_conflict(post: Post, payload: Payload) -> None:
    first = payload()
    post(first)
    answer = post(first | {"vcs_meta": first["vcs_meta"] | {"checkout_oid": "0" * 40}})
    assert (answer.status, answer.problem["code"]) == (409, "conflict")
    assert f"analysis-s0-{first['run_id']}-1" in answer.problem["detail"]


def test_an_argument_over_the_kernel_s_limit_is_too_large(post: Post, payload: Payload) -> None:
    answer = post(payload(config={"version": 1, "exclude_patterns": ["x" * 200_000]}))
    assert (answer.status, answer.problem["code"]) == (413, "too_large")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/xml; a=json"])
def test_another_media_type_is_refused(post: Post, payload: Payload, media: str) -> None:
    answer = post(payload(), Content_Type=media)
    assert (answer.status, answer.problem["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.atlas+json"])
def test_every_media_type_of_json_is_accepted(post: Post, payload: Payload, media: str) -> None:
    assert post(payload(), Content_Type=media).status == 201


def test_no_error_repeats_a_secret_of_the_request(post: Post, payload: Payload) -> None:
    secret = "hunter2hunter2"
    bad = payload(run_id="../x", internal_token=secret, keys={"ssh": {"private": secret, "public": 3}})
    bad["vcs_meta"] |= {"remote_url": f"ftp://user:{secret}@example.org/a/b"}
    answer = post(bad)
    assert answer.status == 422
    assert secret not in answer.body.decode()


@pytest.mark.parametrize("given", ["trace-1", "a" * 128, "A.b_c-9"])
def test_a_valid_request_id_is_echoed(post: Post, payload: Payload, given: str) -> None:
    assert post(payload(), X_Request_ID=given).headers["x-request-id"] == given
    assert post(b"{", X_Request_ID=given).problem["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "ü", '"><script>'])
def test_an_invalid_request_id_is_replaced(post: Post, payload: Payload, given: str) -> None:
    answers = [post(payload(), X_Request_ID=given) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert given not in ids
    assert ids[0] != ids[1]
    assert all(len(each) == 32 for each in ids)
