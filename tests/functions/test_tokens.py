"""Authentication over HTTP: only atlas may send requests, with a token for this runner."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import KeyPair, make_key_pair
from tests.harness.wire import Answer

Post = Callable[..., Answer]
Payload = Callable[..., dict[str, Any]]
Token = Callable[..., str]

_ANOTHER = make_key_pair()


def test_a_valid_token_is_accepted(post: Post, payload: Payload, token: Token) -> None:
    answer = post(payload(), authorize=False, Authorization=f"bearer {token()}")
    assert answer.status == 201


def test_without_a_token_a_request_is_unauthenticated(post: Post, payload: Payload) -> None:
    refused(post(payload(), authorize=False), 401, "unauthenticated")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"key": _ANOTHER.private},
        {"key": "a secret that both of them have known for long", "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
    ],
    ids=["expired", "endless", "exp as text", "exp as true", "another key", "another algorithm", "unsigned"],
)
def test_a_token_that_is_not_atlas_s_is_refused(post: Post, payload: Payload, token: Token, claims: Any) -> None:
    refused(post(payload(), authorize=False, Authorization=f"Bearer {token(**claims)}"), 401, "unauthenticated")


def test_the_public_key_as_a_shared_secret_is_refused(
    post: Post, payload: Payload, token: Token, atlas_keys: KeyPair
) -> None:
    header, body, _ = token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    signature = hmac.new(atlas_keys.public.encode(), f"{header}.{body}".encode(), hashlib.sha256).digest()
    forged = f"{header}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    refused(post(payload(), authorize=False, Authorization=f"Bearer {forged}"), 401, "unauthenticated")


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", "Bearer a.b.c", "Bearer " + "a" * 9000, "\xff"])
def test_any_other_authorization_header_is_refused(post: Post, payload: Payload, value: str) -> None:
    refused(post(payload(), authorize=False, Authorization=value), 401, "unauthenticated")


@pytest.mark.parametrize("runner_id", ["runner-2", "", "RUNNER-1", None, 1, ["runner-1"]])
def test_a_token_for_another_runner_is_forbidden(post: Post, payload: Payload, token: Token, runner_id: Any) -> None:
    answer = post(payload(), authorize=False, Authorization=f"Bearer {token(runner_id=runner_id)}")
    assert (answer.status, answer.problem["code"]) == (403, "forbidden")
    assert "www-authenticate" not in answer.headers


def test_a_token_that_expired_within_the_leeway_is_accepted(post: Post, payload: Payload, token: Token) -> None:
    late = token(exp=int(time.time()) - 20)
    assert post(payload(), authorize=False, Authorization=f"Bearer {late}").status == 201


def test_the_caller_is_refused_before_the_body_is_decoded(post: Post) -> None:
    refused(post(b"no JSON", authorize=False, Content_Type="text/plain"), 401, "unauthenticated")


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert answer.headers["www-authenticate"] == "Bearer"
