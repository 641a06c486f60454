"""atlas's bearer tokens: RS256 by the control plane's key, not expired, for this very runner."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from runner.errors import Forbidden, Unauthenticated
from runner.payloads import RequestPolicy

MAX_TOKEN = 8192
"""Characters. A token of atlas's has a few hundred."""

LEEWAY = 30
"""Seconds by which the two hosts' clocks may differ."""

_ASK_NOTHING_ELSE: Any = dict.fromkeys(
    ("verify_exp", "verify_aud", "verify_iat", "verify_nbf", "verify_sub", "verify_jti"), False
)
"""The contract's claims are looked at here; whatever else atlas may put in is its own."""


def verify(authorization: str, policy: RequestPolicy, now: float) -> None:
    """Raises Unauthenticated unless the header holds a good token, Forbidden where it is for another runner.

    A policy without a key asks for no token; a key that cannot be used is Internal.
    """
    if not policy.public_key:
        return
    claims = _claims(_token(authorization), policy.public_key)
    expires = claims.get("exp")
    # PyJWT would take a string as well; RFC 7519 (4.1.4) wants a number. Put so that NaN is expired, too.
    if not isinstance(expires, int | float) or not expires + LEEWAY > now:
        raise Unauthenticated("the token has expired, or says nothing of when; send a fresh one")
    if claims.get("runner_id") != policy.runner_id:
        raise Forbidden("the token's runner_id is not this runner's; check runner.id in the configuration")


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthenticated("send the header `Authorization: Bearer <token>`")
    return token.strip()


@lru_cache(maxsize=64)
def _claims(token: str, public_key: str) -> dict[str, Any]:
    """What a token says, once it is known whose it is, which never changes; whether it still holds may change."""
    import jwt  # not at start: an idle function, or one behind no token, never needs it

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(public_key),
            algorithms=["RS256"],
            options=_ASK_NOTHING_ELSE,
        )
    except (jwt.PyJWTError, UnicodeError, ValueError) as error:
        raise Unauthenticated("the token was not signed with the control plane's key (RS256)") from error
    return claims


@lru_cache(maxsize=4)
def _key(pem: str) -> Any:
    from runner.security.keys import parse_public_key

    return parse_public_key(pem)
