"""The unit for what a result token costs: one RSA signature with a key of 2048 bits."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

SIGNATURES = 400
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signature_seconds() -> float:
    """CPU seconds of one signature, as this machine is now."""
    began = time.process_time()
    for number in range(SIGNATURES):
        _KEY.sign(b"%d" % number, padding.PKCS1v15(), SHA256())
    return (time.process_time() - began) / SIGNATURES
