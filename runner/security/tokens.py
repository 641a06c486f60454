"""Result tokens, with which a job publishes its results. RS256, for one run, valid for as long as the job may last.

They are encoded here and not by PyJWT: signing is the most expensive part of creating a job, and PyJWT takes a third
longer. The tests verify them with PyJWT.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from runner.jobs import JobSpec, Secret, TokenClaims
from runner.security.keys import parse_private_key

_PADDING, _HASH = PKCS1v15(), SHA256()


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


_HEADER = _base64url(b'{"typ":"JWT","alg":"RS256"}')


class Signer:
    """Signs with the runner's private key. Thread-safe; the key is parsed once."""

    def __init__(self, private_key: str, issuer: str, clock: Callable[[], float]) -> None:
        self._key = parse_private_key(private_key)
        self._issuer = issuer
        self._clock = clock

    def sign(self, claims: TokenClaims) -> str:
        """A JWT with the contract's claims, and with `sub` (the job), `run_id` and `jti`, which tie it to its run."""
        now = int(self._clock())
        signed_claims = {
            "iat": now,
            "exp": now + claims.lifetime,
            "scp": claims.scope,
            "iss": self._issuer,
            "sub": claims.job,
            "run_id": claims.run_id,
            "jti": os.urandom(16).hex(),
        }
        # JWS Compact Serialization (RFC 7515, section 3.1) with RSASSA-PKCS1-v1_5 and SHA-256 (RFC 7518, section 3.3).
        signed = b"%s.%s" % (_HEADER, _base64url(msgspec.json.encode(signed_claims)))
        signature = _base64url(self._key.sign(signed, _PADDING, _HASH))
        return (b"%s.%s" % (signed, signature)).decode()

    def resolve_secrets(self, job: JobSpec) -> dict[str, str]:
        """The values of all the job's secrets."""
        return {name: self._value(secret) for name, secret in job.secrets.items()}

    def _value(self, secret: Secret | TokenClaims) -> str:
        return secret.reveal() if isinstance(secret, Secret) else self.sign(secret)
