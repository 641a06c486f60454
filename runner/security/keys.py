"""The two RSA keys of the configuration: the runner's private key, which signs result tokens, and the control plane's
public key, which verifies bearer tokens.

Errors never quote a key. This module imports the cryptography library, which is slow to load: a process that must start
fast imports this module late.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from runner.errors import Internal

MINIMUM_KEY_BITS = 2048


def parse_private_key(pem: str) -> RSAPrivateKey:
    """The key in `pem`. Raises Internal if it is not an RSA key of at least `MINIMUM_KEY_BITS`."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's message may quote the key, so the cause is left out.
        raise Internal(f"runner.privateKey is not a private key in PEM ({type(error).__name__})") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MINIMUM_KEY_BITS:
        raise Internal(f"runner.privateKey must be an RSA key of at least {MINIMUM_KEY_BITS} bits")
    return key


def parse_public_key(pem: str) -> RSAPublicKey:
    """The key in `pem`. Raises Internal if it is not an RSA key."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Internal(f"deepsource.publicKey is not a public key in PEM ({type(error).__name__})") from None
    if not isinstance(key, RSAPublicKey):
        raise Internal("deepsource.publicKey must be an RSA key")
    return key
