"""Masks over what looks like a credential, for text that others wrote: a library's message, a log's last lines.

They are a second fence. The first is that no code of ours passes a secret on.
"""

from __future__ import annotations

import re

# None of them reaches over a double quote, so a masked line of JSON is still one.
_MASKS = (
    (re.compile(r"(?<=://)[^/\s\"]+(?=@)"), "***"),  # user and password in a URL, whichever of them has an @
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----[^\"]*?(?:-----END [^-]*-----|(?=\")|\Z)"), "***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),  # a JWT
    (
        re.compile(
            r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|[\w-]*token)=)[^&\s\"]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),  # what signs a download
)


def mask(text: str) -> str:
    """`text` without anything that looks like a credential."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text
