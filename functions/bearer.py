"""The check of atlas's bearer tokens: signed with the control plane's key (RS256), not expired, for this runner."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from runner.errors import Forbidden, Unauthenticated
from runner.payloads import RequestPolicy

MAX_TOKEN = 8192
"""Characters. A token from atlas has a few hundred."""

LEEWAY = 30
"""Seconds by which the two hosts' clocks may differ."""

_SIGNATURE_ONLY: Any = dict.fromkeys(
    ("verify_exp", "verify_aud", "verify_iat", "verify_nbf", "verify_sub", "verify_jti"), False
)
"""`verify` checks the contract's claims itself; PyJWT checks no claim."""


def verify(authorization: str, policy: RequestPolicy, now: float) -> None:
    """Raises Unauthenticated unless the header has a valid token, Forbidden if the token is for another runner.

    `now` is in seconds since 1970. A policy without a key needs no token. Raises Internal if the key cannot be used.
    """
    if not policy.public_key:
        return
    claims = _claims(_token(authorization), policy.public_key)
    expires = claims.get("exp")
    # RFC 7519 (4.1.4) requires a number; PyJWT would accept a string. With this comparison, NaN is expired, too.
    if not isinstance(expires, int | float) or not expires + LEEWAY > now:
        raise Unauthenticated("the token has expired or has no valid exp; send a new one")
    if claims.get("runner_id") != policy.runner_id:
        raise Forbidden("the token's runner_id is not this runner's; check runner.id in the configuration")


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthenticated("send the header `Authorization: Bearer <token>`")
    return token.strip()


@lru_cache(maxsize=64)
def _claims(token: str, public_key: str) -> dict[str, Any]:
    """The claims of a token whose signature is valid. Cached, since that never changes; expiry is checked each time."""
    import jwt  # late: it is slow to load, and a function without requests or tokens never needs it

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(public_key),
            algorithms=["RS256"],
            options=_SIGNATURE_ONLY,
        )
    except (jwt.PyJWTError, UnicodeError, ValueError) as error:
        raise Unauthenticated(
            "the token is not signed with the control plane's key (RS256); check deepsource.publicKey"
        ) from error
    return claims


@lru_cache(maxsize=4)
def _key(pem: str) -> Any:
    from runner.security.keys import parse_public_key

    return parse_public_key(pem)
