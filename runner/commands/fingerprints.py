"""Fingerprints: are two requests for one name the same task?

atlas repeats a task until it is accepted, and a repeat may carry a fresh clone token, a freshly signed download URL
or another trace id. So whatever is a credential, and everything in `_meta` but the pool, stays out of the hash.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from runner.payloads import remotes


def fingerprint(request_type: str, task: Any) -> str:
    """A hash of `task` (a payload, or the part of one that one job is for), as 32 hexadecimal digits."""
    bare = _bare(msgspec.to_builtins(task, builtin_types=(msgspec.Raw,)))
    encoded = msgspec.msgpack.encode([request_type, bare], order="deterministic")
    return sha256(encoded).hexdigest()[:32]


def _bare(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _bare_member(key, value) for key, value in part.items() if key not in _LEFT_OUT}
    if isinstance(part, list | tuple):
        return [_bare(item) for item in part]
    if isinstance(part, msgspec.Raw):
        return msgspec.json.format(bytes(part), indent=-1)
    return part


def _bare_member(key: str, value: Any) -> Any:
    if key == "remote_url":
        remote = remotes.parse(value)
        return remote.public if remote else ""
    if key in ("url", "analysis_context_url"):
        return str(value).partition("?")[0]
    if key == "_meta":
        return value.get("resource_pool", "")
    return _bare(value)


_LEFT_OUT = frozenset({"keys", "internal_token"})
