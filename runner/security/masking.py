"""Masks for everything that looks like a credential, in text from elsewhere: a library's message, a log's last lines.

This is the second protection. The first is that no code logs or prints a secret.
"""

from __future__ import annotations

import re

# No pattern matches across a double quote, so a masked line of JSON is still JSON.
_MASKS = (
    (re.compile(r"(?<=://)[^/\s\"]+(?=@)"), "***"),  # user and password in a URL, also with an @ in either of them
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----[^\"]*?(?:-----END [^-]*-----|(?=\")|\Z)"), "***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),  # a JWT
    (
        re.compile(
            r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|[\w-]*token)=)[^&\s\"]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),  # the signature of a download URL
)


def mask(text: str) -> str:
    """`text` without anything that looks like a credential."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text
