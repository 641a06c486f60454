"""Names and label values that every cluster takes, from ids that atlas chose.

A name is derived from the request alone: it is the lock that keeps one task from becoming two jobs. Two different ids
must therefore never get the same name, even if they are equal after invalid characters are replaced.
"""

from __future__ import annotations

import re
from hashlib import sha256

MAX_NAME = 63
"""Characters of a DNS label (RFC 1123), which job names and label values are."""

_NAME = re.compile(r"\A[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_LABEL = re.compile(r"\A[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_HASHED = re.compile(r"-h[0-9a-f]{16}\Z")


def job_name(wanted: str) -> str:
    """`wanted` itself where it is a DNS label, else a readable head of it and a hash of the whole.

    A wanted name that looks hashed is hashed as well, so nobody can choose an id that takes another's name.
    """
    if len(wanted) <= MAX_NAME and _NAME.match(wanted) and not _HASHED.search(wanted):
        return wanted
    head = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")
    return _with_hash(head, wanted)


def label_value(wanted: str) -> str:
    """`wanted` itself where a label may hold it, else a readable head and a hash."""
    if not wanted or (len(wanted) <= MAX_NAME and _LABEL.match(wanted)):
        return wanted
    return _with_hash(re.sub(r"[^A-Za-z0-9]+", "-", wanted).strip("-"), wanted)


def _with_hash(head: str, whole: str) -> str:
    digest = sha256(whole.encode()).hexdigest()[:16]
    return f"{head[: MAX_NAME - 18].rstrip('-')}-h{digest}"
