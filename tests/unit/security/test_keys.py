"""runner.security.keys: the two RSA keys of the configuration, never quoted in an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from runner.errors import Internal
from runner.security.keys import MAX_PUBLIC_KEYS, parse_private_key, parse_public_keys
from runner.security.keys import public_pem as pem_of
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
    assert parse_public_keys(pem)[0].public_numbers() == public.public_numbers()


def test_a_smaller_private_key_is_refused_by_its_size() -> None:
    with pytest.raises(Internal, match="at least 2048 bits"):
        parse_private_key(make_key_pair(1024).private)


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())])
def test_a_key_of_another_kind_is_refused(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(Internal, match=r"runner\.privateKey must be an RSA key"):
        parse_private_key(private_pem(key))
    with pytest.raises(Internal, match=r"deepsource\.publicKey must be an RSA key"):
        parse_public_keys(public_pem(key))


def test_a_private_key_is_refused_as_the_public_key_and_the_reverse(runner_keys: KeyPair) -> None:
    with pytest.raises(Internal, match=r"runner\.privateKey"):
        parse_private_key(runner_keys.public)
    with pytest.raises(Internal, match=r"deepsource\.publicKey"):
        parse_public_keys(runner_keys.private)


def test_several_public_keys_all_count(runner_keys: KeyPair, atlas_keys: KeyPair) -> None:
    text = f"old:\n{runner_keys.public}\nnew:\n{atlas_keys.public}"
    assert [pem_of(key) for key in parse_public_keys(text)] == [runner_keys.public, atlas_keys.public]
    with pytest.raises(Internal, match="block 2, is not a public key"):
        parse_public_keys(f"{runner_keys.public}-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----")
    with pytest.raises(Internal, match="cut off"):
        parse_public_keys(runner_keys.public + atlas_keys.public[:200])
    with pytest.raises(Internal, match=f"at most {MAX_PUBLIC_KEYS}"):
        parse_public_keys(runner_keys.public * (MAX_PUBLIC_KEYS + 1))


def test_a_smaller_public_key_is_refused_by_its_size(runner_keys: KeyPair) -> None:
    small = make_key_pair(1024).public
    for text in (small, runner_keys.public + small):
        with pytest.raises(Internal, match="at least 2048 bits; this one has 1024"):
            parse_public_keys(text)


WRITTEN = {
    "literal line feeds": lambda pem: pem.replace("\n", "\\n"),
    "literal carriage returns": lambda pem: pem.replace("\n", "\\r\\n"),
    "in quotes": lambda pem: '"' + pem.replace("\n", "\\n") + '"',
    "folded": lambda pem: pem.replace("\n", " "),
    "indented": lambda pem: pem.replace("\n", "\n    "),
    "from Windows": lambda pem: pem.replace("\n", "\r\n"),
    "one long line": lambda pem: "\n".join([pem[:27], "".join(pem[27:-26].split()), pem[-26:]]),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_key_is_taken_however_its_lines_were_written(written: Callable[[str], str], atlas_keys: KeyPair) -> None:
    (public,) = parse_public_keys(written(atlas_keys.public))
    assert pem_of(public) == atlas_keys.public
    assert pem_of(parse_private_key(written(atlas_keys.private))) == atlas_keys.public


def test_a_key_that_is_not_taken_is_called_what_it_is(parsed: rsa.RSAPrivateKey, runner_keys: KeyPair) -> None:
    private, public = parsed.private_bytes, parsed.public_key().public_bytes
    locked, legacy = BestAvailableEncryption(b"hunter2"), PrivateFormat.TraditionalOpenSSL
    for text, said in {
        private(Encoding.PEM, PrivateFormat.PKCS8, locked).decode(): "is encrypted",
        private(Encoding.PEM, legacy, locked).decode(): "is encrypted",
        private(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(): "is an OpenSSH private key",
        public(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(): "is an OpenSSH public key",
        runner_keys.public: "is a public key",
        runner_keys.private * 2: "has 2 private keys",
        private_pem(ec.generate_private_key(ec.SECP256R1())): "another kind",
    }.items():
        with pytest.raises(Internal, match=said):
            parse_private_key(text)
    for text, said in {
        public(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(): "is an OpenSSH public key",
        runner_keys.private: "is a private key",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----": "is a certificate",
    }.items():
        with pytest.raises(Internal, match=said):
            parse_public_keys(text)


@pytest.mark.parametrize("pem", GARBAGE)
def test_garbage_is_refused_and_not_quoted(pem: str) -> None:
    for parse in (parse_private_key, parse_public_keys):
        with pytest.raises(Internal) as caught:
            parse(pem)
        shown = f"{caught.value!r} {caught.value.detail} {caught.value.__cause__!r}"
        assert "hunter2" not in shown
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_incomplete_key_is_not_quoted(runner_keys: KeyPair) -> None:
    lines = runner_keys.private.splitlines()
    with pytest.raises(Internal) as caught:
        parse_private_key("\n".join([*lines[:3], *lines[5:]]))
    assert not any(line in str(caught.value) for line in lines[1:-1])
