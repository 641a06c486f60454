"""The RSA keys of the configuration: the runner's private key, which signs result tokens, and the control plane's
public keys, any of which verifies a bearer token. Also whether a client's certificate and key belong together.

Errors never quote a key. This module imports the cryptography library, which is slow to load: a process that must start
fast imports this module late.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509 import load_pem_x509_certificate

from runner.errors import Internal
from runner.security.pem import Block, blocks, kind_of

MINIMUM_KEY_BITS = 2048

MAX_PUBLIC_KEYS = 8
"""A token that fits none is tried with each of them."""

_PRIVATE, _PUBLIC = "runner.privateKey", "deepsource.publicKey"
_PRIVATE_LABELS = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY"})
_PUBLIC_LABELS = frozenset({"PUBLIC KEY", "RSA PUBLIC KEY"})
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def parse_private_key(text: str, where: str = _PRIVATE) -> RSAPrivateKey:
    """The one private key in `text`. Raises Internal if that is not an RSA key of at least `MINIMUM_KEY_BITS`.

    `where` names the text in an error.
    """
    found = _blocks(text, where)
    private = [block for block in found if block.label.endswith("PRIVATE KEY")] or found
    if len(private) > 1:
        raise Internal(f"{where} has {len(private)} private keys; give one")
    (block,) = private
    if block.label not in _PRIVATE_LABELS or block.encrypted:
        raise Internal(f"{where} {block.kind}")
    try:
        key = load_pem_private_key(block.pem.encode(), password=None)
    except _UNREADABLE as error:
        # The library's message may quote the key, so the cause is left out.
        raise _unreadable(where, "private", error) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MINIMUM_KEY_BITS:
        raise _unfit(where, key)
    return key


def parse_public_keys(text: str) -> tuple[RSAPublicKey, ...]:
    """Every public key in `text`. Raises Internal unless all are RSA keys of at least `MINIMUM_KEY_BITS`."""
    found = _blocks(text, _PUBLIC)
    if len(found) > MAX_PUBLIC_KEYS:
        raise Internal(f"{_PUBLIC} has {len(found)} keys; at most {MAX_PUBLIC_KEYS} are taken")
    return tuple(
        _public_key(block, _PUBLIC if len(found) == 1 else f"{_PUBLIC}, block {number},")
        for number, block in enumerate(found, 1)
    )


def public_pem(key: RSAPrivateKey | RSAPublicKey) -> str:
    """The public key, or the public half, in PEM."""
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def new_private_key() -> str:
    """A new private key in PEM."""
    key = generate_private_key(public_exponent=65537, key_size=MINIMUM_KEY_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def are_pair(certificate: str, key: str) -> bool:
    """Whether the first certificate of one text and the private key of the other belong together. Both in PEM."""
    try:
        shown = load_pem_x509_certificate(certificate.encode("latin-1")).public_key()
        secret = load_pem_private_key(key.encode("latin-1"), password=None).public_key()
    except _UNREADABLE:
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return shown.public_bytes(*form) == secret.public_bytes(*form)


def _public_key(block: Block, where: str) -> RSAPublicKey:
    if block.label not in _PUBLIC_LABELS:
        raise Internal(f"{where} {block.kind}")
    try:
        key = load_pem_public_key(block.pem.encode())
    except _UNREADABLE as error:
        raise _unreadable(where, "public", error) from None
    if not isinstance(key, RSAPublicKey) or key.key_size < MINIMUM_KEY_BITS:
        raise _unfit(where, key)
    return key


def _blocks(text: str, where: str) -> list[Block]:
    found = blocks(text)
    if found is None:
        raise Internal(f"{where} {kind_of(text) or 'is not PEM: give the key from its BEGIN line to its END line'}")
    return found


def _unreadable(where: str, kind: str, error: Exception) -> Internal:
    return Internal(f"{where} is not a {kind} key in PEM ({type(error).__name__}); paste the whole key again")


def _unfit(where: str, key: object) -> Internal:
    size = getattr(key, "key_size", 0) if isinstance(key, RSAPrivateKey | RSAPublicKey) else 0
    seen = f"this one has {size}" if size else "this one is of another kind"
    return Internal(f"{where} must be an RSA key of at least {MINIMUM_KEY_BITS} bits; {seen}")
