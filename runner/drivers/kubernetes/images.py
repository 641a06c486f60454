"""Which errors of an image are definite and which may pass, from the kubelet's reason and message. Pure.

The kubelet repeats the cause in the message of the pause between two tries: `Back-off pulling image "x": ErrImagePull:
...`. The cause is the text of the container runtime, whose words differ between runtimes and versions. Image names,
addresses and quoted texts are removed first: their words are no causes.
"""

from __future__ import annotations

import re

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Reasons of a waiting container (kubelet, package images)."""

_DEFINITE_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"})

_NAMES = re.compile(r'"[^"]*"|\S*/\S*')
"""Quoted texts, and words with a slash: image names and URLs."""

_MAY_PASS = re.compile(
    r"(?<![\w.:-])(?:429|5\d\d)(?![\w.:])"
    r"|time(?:d )?-?out|deadline exceeded|too ?many ?requests|rate limit|connection re(?:fused|set)|no such host"
    r"|server misbehaving|name resolution|no route to host|unreachable|unexpected EOF|QPS exceeded",
    re.IGNORECASE,
)
_DEFINITE = re.compile(
    r"\bnot found\b|\bdenied\b|\bunauthorized\b|\bforbidden\b|\bmanifest unknown\b|\bname unknown\b|does not exist"
    r"|authorization failed|invalid reference|no match for platform|no matching manifest",
    re.IGNORECASE,
)


def may_pass(reason: str, message: str) -> bool:
    """Whether a later pull may succeed with nothing changed. True if the message does not say."""
    if reason in _DEFINITE_REASONS:
        return False
    cause = _NAMES.sub(" ", message)
    return bool(_MAY_PASS.search(cause)) or not _DEFINITE.search(cause)
