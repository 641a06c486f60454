"""runner.security.keys: the two RSA keys of the configuration, never quoted in an error."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from runner.errors import Internal
from runner.security.keys import parse_private_key, parse_public_key
from tests.conftest import KeyPair, make_key_pair

GARBAGE = [
    "",
    "hunter2",
    "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nhunter2",
    "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----\n",
    "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
    "hunter2\ud800",
    "hunter2é\0",
]


def private_pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def parsed(runner_keys: KeyPair) -> rsa.RSAPrivateKey:
    return parse_private_key(runner_keys.private)


def test_an_rsa_key_of_2048_bits_is_accepted(parsed: rsa.RSAPrivateKey) -> None:
    assert parsed.key_size == 2048


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_private_key_may_have_either_form_of_pem_and_white_space_around_it(
    parsed: rsa.RSAPrivateKey, form: PrivateFormat
) -> None:
    pem = parsed.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    assert parse_private_key(f"\n{pem}\n\n").private_numbers() == parsed.private_numbers()


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_a_public_key_may_have_either_form_of_pem(parsed: rsa.RSAPrivateKey, form: PublicFormat) -> None:
    public = parsed.public_key()
    pem = public.public_bytes(Encoding.PEM, form).decode()
    assert parse_public_key(pem).public_numbers() == public.public_numbers()


def test_a_smaller_private_key_is_refused_by_its_size() -> None:
    with pytest.raises(Internal, match="at least 2048 bits"):
        parse_private_key(make_key_pair(1024).private)


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())])
def test_a_key_of_another_kind_is_refused(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(Internal, match=r"runner\.privateKey must be an RSA key"):
        parse_private_key(private_pem(key))
    with pytest.raises(Internal, match=r"deepsource\.publicKey must be an RSA key"):
        parse_public_key(public_pem(key))


def test_a_private_key_is_refused_as_the_public_key_and_the_reverse(runner_keys: KeyPair) -> None:
    with pytest.raises(Internal, match=r"runner\.privateKey"):
        parse_private_key(runner_keys.public)
    with pytest.raises(Internal, match=r"deepsource\.publicKey"):
        parse_public_key(runner_keys.private)


def test_an_encrypted_key_is_refused(parsed: rsa.RSAPrivateKey) -> None:
    locked = parsed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")).decode()
    with pytest.raises(Internal):
        parse_private_key(locked)
    assert load_pem_private_key(locked.encode(), b"hunter2")


@pytest.mark.parametrize("pem", GARBAGE)
def test_garbage_is_refused_and_not_quoted(pem: str) -> None:
    for parse in (parse_private_key, parse_public_key):
        with pytest.raises(Internal) as caught:
            parse(pem)
        shown = f"{caught.value!r} {caught.value.detail} {caught.value.__cause__!r}"
        assert "hunter2" not in shown
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_incomplete_key_is_not_quoted(runner_keys: KeyPair) -> None:
    lines = runner_keys.private.splitlines()
    with pytest.raises(Internal) as caught:
        parse_private_key("\n".join([*lines[:3], *lines[5:]]))
    assert not any(line in str(caught.value) for line in lines[1:-1])
