"""RSA key pairs: the runner's key signs result tokens, atlas's key signs requests."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

BITS = 2048
"""The least that RS256 allows (RFC 7518, 3.3)."""


class KeyPair(msgspec.Struct, frozen=True):
    """Private and public key, both in PEM."""

    private: str
    public: str

    def __repr__(self) -> str:
        return "KeyPair(...)"


def make() -> KeyPair:
    """A new pair."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(private.decode(), public.decode())


def write(pair: KeyPair, directory: Path, name: str) -> tuple[Path, Path]:
    """Save `{name}.pem`, readable by its owner only, and `{name}.pub.pem`. Raises FileExistsError for either."""
    directory.mkdir(parents=True, exist_ok=True)
    private, public = directory / f"{name}.pem", directory / f"{name}.pub.pem"
    for path, text, mode in ((private, pair.private, 0o600), (public, pair.public, 0o644)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    return private, public
