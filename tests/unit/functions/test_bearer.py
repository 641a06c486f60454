"""functions.bearer: only tokens with atlas's signature (RS256), not expired and for this runner, are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from functions.bearer import LEEWAY, MAX_TOKEN, verify
from runner.errors import Forbidden, Internal, OrchestratorError, Unauthenticated
from runner.payloads import RequestPolicy
from tests.conftest import KeyPair, make_key_pair

NOW = 1_800_000_000.0
GOOD = {"exp": NOW + 60, "runner_id": "runner-1"}
Sign = Callable[..., str]


@pytest.fixture(scope="module")
def policy(atlas_keys: KeyPair) -> RequestPolicy:
    return RequestPolicy(runner_id="runner-1", public_key=atlas_keys.public)


@pytest.fixture(scope="module")
def sign(atlas_keys: KeyPair) -> Sign:
    """A token with any bytes for header and payload, signed with atlas's key."""
    key = load_pem_private_key(atlas_keys.private.encode(), password=None)
    assert isinstance(key, RSAPrivateKey)

    def make(payload: Any, header: Any = {"alg": "RS256", "typ": "JWT"}) -> str:  # noqa: B006  (not changed)
        parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
        message = ".".join(map(encoded, parts))
        return f"{message}.{encoded(key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    return make


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def refused(token: str, policy: RequestPolicy, now: float = NOW) -> bool:
    try:
        verify(f"Bearer {token}", policy, now)
    except Unauthenticated:
        return True
    return False


def test_a_valid_token_is_accepted(sign: Sign, policy: RequestPolicy) -> None:
    verify(f"Bearer {sign(GOOD)}", policy, NOW)


def test_a_token_that_was_accepted_is_checked_again(sign: Sign, policy: RequestPolicy, runner_keys: KeyPair) -> None:
    """Only its signature is cached, by token and key; its expiry and its runner are not."""
    token = sign(GOOD)
    verify(f"Bearer {token}", policy, NOW)
    assert refused(token, policy, NOW + 60 + LEEWAY)
    assert refused(token, RequestPolicy(runner_id="runner-1", public_key=runner_keys.public))
    with pytest.raises(Forbidden):
        verify(f"Bearer {token}", RequestPolicy(runner_id="runner-2", public_key=policy.public_key), NOW)
    verify(f"Bearer {token}", policy, NOW)


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer  {}", "Bearer {} "])
def test_the_scheme_s_case_and_spaces_around_the_token_are_ignored(
    form: str, sign: Sign, policy: RequestPolicy
) -> None:
    verify(form.format(sign(GOOD)), policy, NOW)


@pytest.mark.parametrize(
    "form", ["{}", "", " ", "Bearer", "Bearer ", "Bearer    ", "Basic {}", "Token {}", "Bearer,{}", "\t"]
)
def test_any_other_scheme_is_unauthenticated(form: str, sign: Sign, policy: RequestPolicy) -> None:
    with pytest.raises(Unauthenticated):
        verify(form.format(sign(GOOD)), policy, NOW)


@pytest.mark.parametrize(
    "extra",
    [
        {"sub": 5},
        {"jti": 5},
        {"iat": "yesterday"},
        {"iat": NOW + 9999},
        {"aud": "somebody"},
        {"iss": 5},
        {"x_new": {"of": "atlas"}},
    ],
)
def test_claims_that_the_contract_does_not_have_are_ignored(
    extra: dict[str, Any], sign: Sign, policy: RequestPolicy
) -> None:
    verify(f"Bearer {sign({**GOOD, **extra})}", policy, NOW)


class TestExpiry:
    @pytest.mark.parametrize("exp", [NOW - LEEWAY + 1, int(NOW), NOW + 0.5, 10**15])
    def test_a_token_is_accepted_until_it_expires_plus_the_leeway(
        self, exp: Any, sign: Sign, policy: RequestPolicy
    ) -> None:
        verify(f"Bearer {sign({**GOOD, 'exp': exp})}", policy, NOW)

    @pytest.mark.parametrize("exp", [NOW - LEEWAY, NOW - LEEWAY - 1, 0, -1, -(10**400), float("nan"), float("-inf")])
    def test_a_token_is_refused_after_that(self, exp: Any, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign({**GOOD, "exp": exp}), policy)

    @pytest.mark.parametrize("exp", [str(int(NOW + 60)), "9" * 12, True, False, None, [NOW + 60], {"at": NOW + 60}, ""])
    def test_an_exp_that_is_not_a_number_is_refused(self, exp: Any, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign({**GOOD, "exp": exp}), policy)

    @pytest.mark.parametrize("exp", ["Infinity", "1e400", "1e308", str(10**400), "9007199254740993"])
    def test_a_token_that_would_never_expire_is_refused(self, exp: str, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign(f'{{"exp": {exp}, "runner_id": "runner-1"}}'.encode()), policy)

    def test_a_token_without_exp_is_refused(self, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign({"runner_id": "runner-1"}), policy)


class TestNotBefore:
    @pytest.mark.parametrize("nbf", [NOW + LEEWAY, int(NOW), NOW - 0.5, 0, -1])
    def test_a_token_is_accepted_from_then_on_less_the_leeway(
        self, nbf: Any, sign: Sign, policy: RequestPolicy
    ) -> None:
        verify(f"Bearer {sign({**GOOD, 'nbf': nbf})}", policy, NOW)

    @pytest.mark.parametrize(
        "nbf",
        [
            NOW + LEEWAY + 1,
            NOW + 3600,
            10**400,
            float("inf"),
            float("-inf"),
            float("nan"),
            None,
            str(int(NOW)),
            True,
            [],
        ],
    )
    def test_before_that_and_without_a_time_it_is_refused(self, nbf: Any, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign({**GOOD, "exp": NOW + 9999, "nbf": nbf}), policy)

    def test_it_becomes_valid_with_time(self, sign: Sign, policy: RequestPolicy) -> None:
        token = sign({**GOOD, "exp": NOW + 9999, "nbf": NOW + 3600})
        assert refused(token, policy)
        verify(f"Bearer {token}", policy, NOW + 3600)


class TestSeveralKeys:
    def test_each_of_them_verifies_and_no_other_does(
        self, sign: Sign, policy: RequestPolicy, runner_keys: KeyPair
    ) -> None:
        other = jwt.encode(GOOD, runner_keys.private, algorithm="RS256")
        for text in (policy.public_key + runner_keys.public, f"{runner_keys.public}\n\n{policy.public_key}"):
            both = RequestPolicy(runner_id="runner-1", public_key=text)
            for token in (sign(GOOD), other):
                verify(f"Bearer {token}", both, NOW)
            assert refused(jwt.encode(GOOD, make_key_pair().private, algorithm="RS256"), both)
        assert refused(other, policy)

    def test_none_of_them_is_a_shared_secret(self, policy: RequestPolicy, runner_keys: KeyPair) -> None:
        both = RequestPolicy(runner_id="runner-1", public_key=policy.public_key + runner_keys.public)
        for secret in (both.public_key, policy.public_key, runner_keys.public):
            header, body = (encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, GOOD))
            digest = hmac.new(secret.encode(), f"{header}.{body}".encode(), hashlib.sha256).digest()
            assert refused(f"{header}.{body}.{encoded(digest)}", both)


class TestRunner:
    @pytest.mark.parametrize(
        "runner_id", ["runner-2", "", "RUNNER-1", "runner-1 ", "runner-1\n", None, 1, True, ["runner-1"], {}, "\ud800"]
    )
    def test_a_token_for_another_runner_is_forbidden(self, runner_id: Any, sign: Sign, policy: RequestPolicy) -> None:
        with pytest.raises(Forbidden):
            verify(f"Bearer {sign({**GOOD, 'runner_id': runner_id})}", policy, NOW)

    def test_a_token_without_a_runner_is_forbidden(self, sign: Sign, policy: RequestPolicy) -> None:
        with pytest.raises(Forbidden):
            verify(f"Bearer {sign({'exp': NOW + 60})}", policy, NOW)

    def test_an_expired_token_for_another_runner_is_unauthenticated(self, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign({"exp": 0, "runner_id": "runner-2"}), policy)


class TestSignature:
    def test_another_key_s_signature_is_refused(self, runner_keys: KeyPair, policy: RequestPolicy) -> None:
        assert refused(jwt.encode(GOOD, runner_keys.private, algorithm="RS256"), policy)

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "nOnE"])
    def test_an_unsigned_token_is_refused(self, alg: str, sign: Sign, policy: RequestPolicy) -> None:
        (_, payload, _) = sign(GOOD).split(".")
        header = encoded(json.dumps({"alg": alg}).encode())
        assert refused(f"{header}.{payload}.", policy)
        assert refused(f"{header}.{payload}", policy)
        assert refused(f"{header}.{payload}.{encoded(b'x')}", policy)
        assert refused(sign(GOOD, {"alg": alg}), policy)

    def test_the_public_key_as_a_shared_secret_is_refused(self, sign: Sign, policy: RequestPolicy) -> None:
        for alg, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
            (_, payload, _) = sign(GOOD).split(".")
            message = f"{encoded(json.dumps({'alg': alg}).encode())}.{payload}"
            for secret in (policy.public_key, policy.public_key.strip(), ""):
                signature = hmac.new(secret.encode(), message.encode(), digest).digest()
                assert refused(f"{message}.{encoded(signature)}", policy)

    @pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256"])
    def test_another_algorithm_with_atlas_s_key_is_refused(
        self, alg: str, atlas_keys: KeyPair, policy: RequestPolicy
    ) -> None:
        assert refused(jwt.encode(GOOD, atlas_keys.private, algorithm=alg), policy)

    def test_another_kind_of_key_is_refused(self, policy: RequestPolicy) -> None:
        elliptic, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
        assert refused(jwt.encode(GOOD, elliptic, algorithm="ES256"), policy)
        assert refused(jwt.encode(GOOD, edwards, algorithm="EdDSA"), policy)

    @pytest.mark.parametrize(
        "header", [{"jwk": {}}, {"jku": "https://evil.example"}, {"x5u": "https://evil.example"}, {"kid": "/dev/null"}]
    )
    def test_a_key_named_in_the_token_s_header_is_ignored(
        self, header: dict[str, Any], runner_keys: KeyPair, policy: RequestPolicy
    ) -> None:
        assert refused(jwt.encode(GOOD, runner_keys.private, algorithm="RS256", headers=header), policy)

    def test_a_changed_payload_is_refused(self, sign: Sign, policy: RequestPolicy) -> None:
        (header, _, signature) = sign({**GOOD, "runner_id": "runner-2"}).split(".")
        (_, payload, _) = sign(GOOD).split(".")
        assert refused(f"{header}.{payload}.{signature}", policy)

    @pytest.mark.parametrize(
        "payload", [b"[]", b"5", b"null", b'"x"', b"{", b"\xff", b"[" * 5000, b'{"exp":1' + b"0" * 5000 + b"}"]
    )
    def test_a_payload_that_is_not_an_object_is_refused(
        self, payload: bytes, sign: Sign, policy: RequestPolicy
    ) -> None:
        assert refused(sign(payload), policy)

    @pytest.mark.parametrize(
        "header",
        [
            *(b"[]", b"5", b"null", b"{", b"\xff", b"[" * 5000, b'{"alg":' + b"[" * 5000, b"1" + b"0" * 5000),
            *(b'{"alg":["RS256"]}', b'{"alg":{}}', b'{"alg":"RS256","kid":5}'),
            *(b'{"alg":"RS256","crit":["x"]}', b'{"alg":"RS256","b64":false}'),
        ],
    )
    def test_a_header_that_is_not_valid_is_refused(self, header: bytes, sign: Sign, policy: RequestPolicy) -> None:
        assert refused(sign(GOOD, header), policy)


class TestGarbage:
    def test_an_oversized_token_is_refused(self, sign: Sign, policy: RequestPolicy) -> None:
        fits = sign({**GOOD, "pad": ""})
        padded = sign({**GOOD, "pad": "x" * ((MAX_TOKEN - len(fits)) * 3 // 4)})
        assert MAX_TOKEN - 8 < len(padded) <= MAX_TOKEN
        verify(f"Bearer {padded}", policy, NOW)
        assert refused(sign({**GOOD, "pad": "x" * (MAX_TOKEN * 3 // 4)}), policy)

    @pytest.mark.parametrize(
        "token", [".", "..", "...", "a.b.c", "a.b", "é.é.é", "\0", "\x85", "\ud800", "=.=.=", "a" * 8000]
    )
    def test_text_that_is_not_a_token_is_refused(self, token: str, policy: RequestPolicy) -> None:
        assert refused(token, policy)

    @given(text=st.text() | st.from_regex(r"[A-Za-z0-9_.-]{0,80}", fullmatch=True))
    def test_any_text_is_refused(self, text: str, policy: RequestPolicy) -> None:
        assert refused(text, policy)
        with pytest.raises(Unauthenticated):
            verify(text, policy, NOW)

    @given(at=st.floats(0, 1, exclude_max=True), patch=st.text("AZaz09_-.=", max_size=3), length=st.integers(0, 3))
    def test_a_token_with_changed_characters_is_refused(
        self, at: float, patch: str, length: int, sign: Sign, policy: RequestPolicy
    ) -> None:
        good = sign(GOOD)
        begin = int(at * len(good))
        changed = good[:begin] + patch + good[begin + length :]
        if _meaning(changed) != _meaning(good):
            assert refused(changed, policy)

    def test_no_error_quotes_the_token(self, sign: Sign, policy: RequestPolicy) -> None:
        for token in (
            sign({**GOOD, "exp": 0}),
            sign({**GOOD, "runner_id": "x"}),
            sign(GOOD)[:-9],
            "hunter2.hunter2.hunter2",
        ):
            with pytest.raises(OrchestratorError) as caught:
                verify(f"Bearer {token}", policy, NOW)
            assert token[:20] not in str(caught.value)
            assert "hunter2" not in str(caught.value)


def _meaning(token: str) -> Any:
    """The decoded parts. Two encodings may decode to the same bytes: base64's last character has unused bits."""
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in token.rstrip().split(".")]
    except ValueError:
        return token


class TestPolicy:
    @pytest.mark.parametrize("authorization", ["", "Bearer x", "garbage"])
    def test_without_a_key_no_token_is_needed(self, authorization: str) -> None:
        verify(authorization, RequestPolicy(runner_id="runner-1", public_key=""), NOW)

    @pytest.mark.parametrize("pem", ["garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
    def test_an_unusable_key_is_an_internal_error(self, pem: str, sign: Sign) -> None:
        with pytest.raises(Internal, match="publicKey"):
            verify(f"Bearer {sign(GOOD)}", RequestPolicy(runner_id="runner-1", public_key=pem), NOW)

    def test_a_key_of_another_kind_is_an_internal_error(self, sign: Sign) -> None:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(Internal, match="publicKey"):
            verify(f"Bearer {sign(GOOD)}", RequestPolicy(runner_id="runner-1", public_key=pem), NOW)
