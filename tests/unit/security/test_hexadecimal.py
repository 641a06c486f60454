"""runner.security.hexadecimal: no part of a key remains in hexadecimal, and digests do."""

from __future__ import annotations

import hashlib
from textwrap import wrap

import pytest

from runner.security.masking import LogMasker, mask
from tests.unit.security.keys_in_text import SHAPES, key

PEM = key(SHAPES["RSA"], seed=1).text
DER = bytes.fromhex("308204bd020100300d06092a864886f70d01010105000482") + key(SHAPES["RSA"], seed=2).text.encode()


def dump(content: bytes, *, canonical: bool) -> str:
    """As `hexdump -C`, or as `xxd`."""
    lines = []
    for at in range(0, len(content), 16):
        part = content[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' ')}  |{shown}|" if canonical else f"{at:08x}: {part.hex(' ', 2)}  {shown}")
    return "\n".join(lines)


FORMS = {
    "one run": PEM.encode().hex(),
    "one run, upper case": PEM.encode().hex().upper(),
    "in JSON": f'{{"key": "{PEM.encode().hex()}"}}',
    "xxd -p": "\n".join(wrap(PEM.encode().hex(), 60)),
    "xxd -p of DER": "\n".join(wrap(DER.hex(), 60)),
    "xxd -p, its beginning out of sight": "\n".join(wrap(PEM.encode().hex(), 60)[4:-1]),
    "other lines, of DER": "\n".join(wrap(DER.hex(), 64)),
    "hexdump -C": dump(PEM.encode(), canonical=True),
    "xxd": dump(PEM.encode(), canonical=False),
    "openssl -text": "\n".join(f"    {line}:" for line in wrap(DER.hex(":"), 45, break_on_hyphens=False)),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_key_is_masked(text: str) -> None:
    masker = LogMasker()
    in_lines = "".join(map(masker.feed, text.splitlines())) + masker.close()
    body = "".join(PEM.split("\n")[2:4])
    for masked in (mask(text), in_lines):
        for at in range(0, len(body) - 8, 8):
            part = body[at : at + 8]
            for form in (part, part.encode().hex(), part.encode().hex(" "), part.encode().hex(" ", 2)):
                assert form not in masked.lower() if form != part else part not in masked


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha384", "sha512"])
def test_digests_remain_however_many_there_are(algorithm: str) -> None:
    digests = "\n".join(hashlib.new(algorithm, bytes([n]), usedforsecurity=False).hexdigest() for n in range(20))
    assert mask(digests) == digests
    assert mask(digests.upper()) == digests.upper()


def test_a_line_of_json_stays_one() -> None:
    for escape in ("\\f", "\\b", "\\u00e9", "\\n"):
        assert mask(f'"{escape}{"ab" * 120}"') == f'"{escape}***"'
