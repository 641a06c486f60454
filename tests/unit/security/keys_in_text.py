"""Private keys as programs print them, made of random bytes, and what of them may not remain in a masked text."""

from __future__ import annotations

import base64
import textwrap
from random import Random
from typing import NamedTuple

WINDOW = 24
"""Characters of a key's body of which no sequence may remain."""

OPENSSH_HEAD = (
    b"openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0\0\0\0\0\0\1\0\0\1\x17\0\0\0\7ssh-rsa\0\0\0\3\1\0\1\0\0\1\1"
)


class Shape(NamedTuple):
    """How a kind of key is written."""

    begin: str
    end: str
    width: int
    head: bytes = b""
    headers: str = ""
    last: str = ""


SHAPES = {
    "PKCS#8": Shape("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", 64, b"0\x82\4\xbd\2\1\0"),
    "RSA": Shape("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", 64),
    "encrypted": Shape(
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----END RSA PRIVATE KEY-----",
        64,
        headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n",
    ),
    "OPENSSH": Shape("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----", 70, OPENSSH_HEAD),
    "PGP": Shape(
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        "-----END PGP PRIVATE KEY BLOCK-----",
        64,
        headers="Version: GnuPG v2\n\n",
        last="=aB3d\n",
    ),
    "SSH2": Shape("---- BEGIN SSH2 PRIVATE KEY ----", "---- END SSH2 PRIVATE KEY ----", 70),
}


class Key(NamedTuple):
    """A printed key, and its body without line feeds."""

    text: str
    body: str


def key(shape: Shape, seed: int, size: int = 1200) -> Key:
    """A key of `size` bytes, different for each seed."""
    body = base64.b64encode(shape.head + Random(seed).randbytes(size)).decode()
    lines = "\n".join(textwrap.wrap(body, shape.width))
    return Key(f"{shape.begin}\n{shape.headers}{lines}\n{shape.last}{shape.end}\n", body)


def remains(body: str, text: str) -> str:
    """The first window of the body that is in the text, also over line feeds; empty if there is none."""
    windows = {body[at : at + WINDOW] for at in range(len(body) - WINDOW + 1)}
    joined = text.replace("\\n", "").replace("\n", "")
    return next((joined[at : at + WINDOW] for at in range(len(joined)) if joined[at : at + WINDOW] in windows), "")
