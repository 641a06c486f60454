"""Masks for everything that looks like a credential, in text from elsewhere: a library's message, a log's last lines.

This is the second protection. The first is that no code logs or prints a secret.

Mask first, then cut. Half a secret is not recognized.
"""

from __future__ import annotations

import re

from runner.security import private_keys

_MASK = "***"

# No pattern matches across a double quote, so a masked line of JSON is still JSON. The bound on a JWT's header keeps
# the time linear.
_MASKS = (
    (re.compile(r"(?<=://)[^/\s\"]+(?=@)"), _MASK),  # user and password in a URL, also with an @ in either of them
    (re.compile(r"\beyJ[\w-]{1,1024}\.[\w-]+\.[\w-]*"), _MASK),  # a JWT
    (
        re.compile(
            r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|[\w-]*token)=)[^&\s\"]+",
            re.IGNORECASE,
        ),
        rf"\1{_MASK}",
    ),  # the signature of a download URL
)

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def mask(text: str) -> str:
    """`text` without anything that looks like a credential. Each private key, or part of one, becomes `***`."""
    text = _without_keys(text)
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _without_keys(text: str) -> str:
    parts, at = [], 0
    for start, end in private_keys.spans(text):
        parts += [text[at:start], _MASK]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def printable(text: str) -> str:
    r"""`text` with U+FFFD for what databases and terminals do not take, and \n for \r\n.

    Replaced are control characters, except \n and \t, and surrogates, which UTF-8 cannot encode.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def evidence_tail(raw: str, lines: int, limit: int) -> str:
    """The last lines of a log, printable and masked: at most `lines` of them, with at most `limit` characters.

    Pass all that was read, not only the lines to keep: a secret may begin before them. It is masked before it is cut.
    Whole lines are left out, from the front; of a last line that is over the limit by itself, the end is kept.
    """
    kept = mask(printable(raw)).rstrip("\n").split("\n")[-lines:]
    size = len(kept[-1])
    first = len(kept) - 1
    while first and size + 1 + len(kept[first - 1]) <= limit:
        first -= 1
        size += 1 + len(kept[first])
    return "\n".join(kept[first:])[-limit:]
