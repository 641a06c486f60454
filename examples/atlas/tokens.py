"""The two kinds of tokens: ours, on requests to the Orchestrator, and the jobs', on results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt

LIFETIME = 300
"""Seconds that a request's token is good for. Each sending has a fresh one."""

LEEWAY = 30
"""Seconds by which the two hosts' clocks may differ."""

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.InvalidIssuerError, "the token is another runner's"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim"),
    (jwt.InvalidAlgorithmError, "the token is not signed with RS256"),
    (jwt.InvalidSignatureError, "the token is not signed with the runner's key"),
    (jwt.PyJWTError, "the token is not a good one"),
)
"""The first that fits says why a token is refused."""


class Refused(Exception):
    """Something that is not taken: its HTTP status, why, and for which run it came."""

    def __init__(self, status: int, reason: str, run_id: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.run_id = run_id


def signer(
    private_key: str,
    runner_id: str,
    clock: Callable[[], float] = time.time,
) -> Callable[[], str]:
    """What makes tokens for requests to that runner."""

    def sign() -> str:
        claims = {"exp": int(clock()) + LIFETIME, "runner_id": runner_id}
        return jwt.encode(claims, private_key, algorithm="RS256")

    return sign


class Verifier:
    """Checks the tokens that jobs bring along with their results."""

    def __init__(self, public_key: str, runner_id: str) -> None:
        self._key = public_key
        self._runner_id = runner_id

    def claims(self, authorization: str) -> dict[str, Any]:
        """What a good token of our runner says. Raises Refused for any other."""
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
    """Raises Refused unless the token is for that kind of result."""
    if scope not in str(claims["scp"]).split():
        reason = f"the token's scope is {claims['scp']!r}, and {scope!r} is needed"
        raise Refused(403, reason, str(claims["run_id"]))


def check_run(claims: dict[str, Any], run_id: str) -> None:
    """Raises Refused where one run's job speaks for another."""
    if claims["run_id"] != run_id:
        reason = f"the token is for run {claims['run_id']!r}, not for {run_id!r}"
        raise Refused(403, reason, str(claims["run_id"]))
