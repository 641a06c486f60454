"""Result tokens: what a job shows when it publishes. RS256, for one run, valid as long as the job can live."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from runner.errors import Internal
from runner.jobs import JobSpec, Secret, TokenGrant

MINIMUM_KEY_BITS = 2048


class Signer:
    """Holds the runner's key and signs. Thread-safe; the key is parsed once."""

    def __init__(self, private_key: str, issuer: str, clock: Callable[[], float]) -> None:
        self._key = parse_private_key(private_key)
        self._issuer = issuer
        self._clock = clock

    def sign(self, grant: TokenGrant) -> str:
        """A JWT with the contract's claims, and with `sub` (the job), `run_id` and `jti`, which bind it to its run."""
        now = int(self._clock())
        claims = {
            "iat": now,
            "exp": now + grant.lifetime,
            "scp": grant.scope,
            "iss": self._issuer,
            "sub": grant.job,
            "run_id": grant.run_id,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm="RS256")

    def unseal(self, job: JobSpec) -> dict[str, str]:
        """The values of all the job's secrets."""
        return {name: self._value(secret) for name, secret in job.secrets.items()}

    def _value(self, secret: Secret | TokenGrant) -> str:
        return secret.reveal() if isinstance(secret, Secret) else self.sign(secret)


def parse_private_key(pem: str) -> RSAPrivateKey:
    """The key in `pem`. Raises Internal, without quoting the text, where it is no RSA key of 2048 bits or more."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        # The library's message may quote what it was given; the cause is left out on purpose.
        raise Internal(f"runner.privateKey is not a private key in PEM ({type(error).__name__})") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MINIMUM_KEY_BITS:
        raise Internal(f"runner.privateKey must be an RSA key of at least {MINIMUM_KEY_BITS} bits")
    return key
