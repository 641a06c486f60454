"""A measured value and its bound, and the unit for what a token costs."""

from __future__ import annotations

import time

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

SIGNATURES = 400
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Figure(msgspec.Struct):
    """One measured value with its unit and the bound that it should meet."""

    name: str
    value: float
    unit: str
    bound: float
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        verdict = "ok    " if self.met else "MISSED"
        value = f"{self.value:8.3f} {self.unit:<4}"
        return f"{verdict}  {self.name:<42} {value} ({relation} {self.bound:g}){'  ' + self.note if self.note else ''}"


def signature_seconds() -> float:
    """CPU seconds of one RSA signature with a key of 2048 bits, as this machine is now."""
    began = time.process_time()
    for number in range(SIGNATURES):
        _KEY.sign(b"%d" % number, padding.PKCS1v15(), SHA256())
    return (time.process_time() - began) / SIGNATURES
