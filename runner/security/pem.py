r"""PEM (RFC 7468) as configurations have it: several blocks in one text, `\n` for a line feed, folded lines.

Not in here: what is inside a block (`runner.security.keys`). Nothing here quotes a key.
"""

from __future__ import annotations

import re
from textwrap import wrap

import msgspec

_BLOCK = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]{1,64})-----(?P<body>[^-]*(?:-(?!----)[^-]*)*)-----END (?P=label)-----"
)
_HEADER = re.compile(r"^[A-Za-z-]+:.*$", re.MULTILINE)
_ESCAPED = re.compile(r"\\r|\\n")

_KINDS = {
    "OPENSSH PRIVATE KEY": "is an OpenSSH private key; convert a copy of it with `ssh-keygen -p -m PEM -N '' -f COPY`",
    "ENCRYPTED PRIVATE KEY": "is encrypted; decrypt it with `openssl pkey -in FILE -out NEW`",
    "CERTIFICATE": "is a certificate; extract its key with `openssl x509 -in FILE -pubkey -noout`",
    "EC PRIVATE KEY": "is an elliptic-curve key; make an RSA key",
    "DSA PRIVATE KEY": "is a DSA key; make an RSA key",
    "PUBLIC KEY": "is a public key; the private one belongs here",
    "RSA PUBLIC KEY": "is a public key; the private one belongs here",
    "PRIVATE KEY": "is a private key; the public one belongs here",
    "RSA PRIVATE KEY": "is a private key; the public one belongs here",
}  # fmt: skip


class Block(msgspec.Struct, frozen=True):
    """One PEM block. `pem` is in the strict form of RFC 7468: lines of 64 characters."""

    label: str
    pem: str
    encrypted: bool

    def __repr__(self) -> str:
        return f"Block({self.label})"

    @property
    def kind(self) -> str:
        """What it is, where it is no key that is taken: the end of a sentence, with what to do about it."""
        if self.encrypted:
            return _KINDS["ENCRYPTED PRIVATE KEY"]
        return _KINDS.get(self.label, f"is a {self.label} block; give a key in PEM")


def blocks(text: str) -> list[Block] | None:
    """All blocks in `text`; None where a block has no end, or there is none."""
    text = _ESCAPED.sub("\n", text)
    found = [_block(match["label"], match["body"]) for match in _BLOCK.finditer(text)]
    return found if found and len(found) == text.count("-----BEGIN") else None


def _block(label: str, body: str) -> Block:
    lines = "\n".join(wrap("".join(_HEADER.sub("", body).split()), 64))
    encrypted = label == "ENCRYPTED PRIVATE KEY" or "ENCRYPTED" in body
    return Block(label, f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n", encrypted)


def begins(text: str) -> bool:
    """Whether the text begins as PEM does, after white space and quotes."""
    return text.lstrip(" \t\r\n\"'").startswith("-----BEGIN")


def kind_of(text: str) -> str:
    """What a text without complete blocks is: the end of a sentence, with what to do about it. Empty if unknown."""
    text = text.strip()
    if text.startswith(("ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-")):
        return "is an OpenSSH public key; convert it with `ssh-keygen -e -m PKCS8 -f FILE`"
    if text.startswith("PuTTY-User-Key-File"):
        return "is a PuTTY key; export it as PEM with `puttygen FILE -O private-openssh`"
    if begins(text):
        return "is cut off: a block has no END line of its own; paste the whole key"
    return ""
