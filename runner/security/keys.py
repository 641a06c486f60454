"""The two RSA keys of the configuration: ours, which signs result tokens, and the control plane's, which verifies.

Errors never quote what was given for a key. Importing this brings in the cryptography library, so whoever starts fast
imports it late.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from runner.errors import Internal

MINIMUM_KEY_BITS = 2048


def parse_private_key(pem: str) -> RSAPrivateKey:
    """The key in `pem`. Raises Internal where it is no RSA key of `MINIMUM_KEY_BITS` or more."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's message may quote what it was given; the cause is left out on purpose.
        raise Internal(f"runner.privateKey is not a private key in PEM ({type(error).__name__})") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MINIMUM_KEY_BITS:
        raise Internal(f"runner.privateKey must be an RSA key of at least {MINIMUM_KEY_BITS} bits")
    return key


def parse_public_key(pem: str) -> RSAPublicKey:
    """The key in `pem`. Raises Internal where it is no RSA key."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Internal(f"deepsource.publicKey is not a public key in PEM ({type(error).__name__})") from None
    if not isinstance(key, RSAPublicKey):
        raise Internal("deepsource.publicKey must be an RSA key")
    return key
