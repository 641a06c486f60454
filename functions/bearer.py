"""The check of atlas's bearer tokens: signed with a key of the control plane (RS256), valid now, for this runner."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeGuard

from runner.errors import Forbidden, Unauthenticated
from runner.payloads import RequestPolicy

MAX_TOKEN = 8192
"""Characters. A token from atlas has a few hundred."""

LEEWAY = 30
"""Seconds by which the two hosts' clocks may differ."""

_END_OF_TIME = 2**53
"""Seconds. JSON's numbers are exact up to here (RFC 8259, 6); a token that says more would never expire."""

_SIGNATURE_ONLY: Any = dict.fromkeys(
    ("verify_exp", "verify_aud", "verify_iat", "verify_nbf", "verify_sub", "verify_jti"), False
)
"""`verify` checks the claims itself; PyJWT checks no claim."""


def verify(authorization: str, policy: RequestPolicy, now: float) -> None:
    """Raises Unauthenticated unless the header has a valid token, Forbidden if the token is for another runner.

    `now` is in seconds since 1970. A policy without a key needs no token. Raises Internal if a key cannot be used.
    """
    if not policy.public_key:
        return
    claims = _claims(_token(authorization), policy.public_key)
    expires = claims.get("exp")
    if not _is_time(expires) or expires + LEEWAY <= now:
        raise Unauthenticated("the token has expired or has no valid exp; send a new one")
    if "nbf" in claims and not (_is_time(claims["nbf"]) and claims["nbf"] - LEEWAY <= now):
        raise Unauthenticated("the token is not valid yet, or its nbf is no time; compare the clocks of the two hosts")
    if claims.get("runner_id") != policy.runner_id:
        raise Forbidden("the token's runner_id is not this runner's; check runner.id in the configuration")


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether it is a NumericDate (RFC 7519, 2). NaN and Infinity, which PyJWT lets through, fail the comparison."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _END_OF_TIME


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthenticated("send the header `Authorization: Bearer <token>`")
    return token.strip()


@lru_cache(maxsize=64)
def _claims(token: str, public_key: str) -> dict[str, Any]:
    """The claims of a token whose signature is valid. Cached, since that never changes; times are checked each time."""
    import jwt  # late: it is slow to load, and a function without requests or tokens never needs it

    refusal: Exception | None = None
    for key in _keys(public_key):
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=_SIGNATURE_ONLY)
        except (jwt.PyJWTError, UnicodeError, ValueError) as error:
            refusal = error
        else:
            return claims
    raise Unauthenticated(
        "the token is not signed with a key of the control plane (RS256); check deepsource.publicKey"
    ) from refusal


@lru_cache(maxsize=4)
def _keys(pem: str) -> tuple[Any, ...]:
    from runner.security.keys import parse_public_keys

    return parse_public_keys(pem)
