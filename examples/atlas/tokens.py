"""Two kinds of tokens: atlas signs requests to the Orchestrator, and verifies the tokens of results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt

LIFETIME = 300
"""Seconds until the token of a request expires. Each attempt gets a fresh token."""

LEEWAY = 30
"""Seconds by which the clocks of the two hosts may differ."""

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.InvalidIssuerError, "the token has another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim"),
    (jwt.InvalidAlgorithmError, "the token is not signed with RS256"),
    (jwt.InvalidSignatureError, "the token is not signed with the runner's key"),
    (jwt.PyJWTError, "the token is not valid"),
)
"""Why a token is refused, by the exception; the first that fits."""


class Refused(Exception):
    """A request from a job that is not accepted: HTTP status, reason, and the run it is for (empty where unknown)."""

    def __init__(self, status: int, reason: str, run_id: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.run_id = run_id


def signer(
    private_key: str,
    runner_id: str,
    clock: Callable[[], float] = time.time,
) -> Callable[[], str]:
    """A function that makes tokens for requests to that runner. `clock` gives seconds since the epoch."""

    def sign() -> str:
        claims = {"exp": int(clock()) + LIFETIME, "runner_id": runner_id}
        return jwt.encode(claims, private_key, algorithm="RS256")

    return sign


class Verifier:
    """Verifies the tokens of jobs."""

    def __init__(self, public_key: str, runner_id: str) -> None:
        self._key = public_key
        self._runner_id = runner_id

    def claims(self, authorization: str) -> dict[str, Any]:
        """The claims of a valid token. Raises Refused with 401 for any other."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, "there is no bearer token")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=["RS256"],
                issuer=self._runner_id,
                leeway=LEEWAY,
                options={"require": ["iat", "exp", "scp", "iss", "sub", "run_id"]},
            )
        except jwt.PyJWTError as error:
            reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
            raise Refused(401, f"{reason}: {error}") from error
        return claims


def check_scope(claims: dict[str, Any], scope: str) -> None:
    """Raises Refused with 403 unless the token has that scope."""
    if scope not in str(claims["scp"]).split():
        reason = f"the token's scope is {claims['scp']!r}, and {scope!r} is needed"
        raise Refused(403, reason, str(claims["run_id"]))


def check_run(claims: dict[str, Any], run_id: str) -> None:
    """Raises Refused with 403 unless the token is for that run."""
    if claims["run_id"] != run_id:
        reason = f"the token is for run {claims['run_id']!r}, not for {run_id!r}"
        raise Refused(403, reason, str(claims["run_id"]))
