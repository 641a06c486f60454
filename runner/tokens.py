"""Result tokens: what a job shows when it publishes. RS256, for one run, valid as long as the job can live."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import jwt

from runner.jobs import JobSpec, Secret, TokenGrant
from runner.keys import parse_private_key


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
