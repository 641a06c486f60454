"""Fingerprints: are two requests for one name the same task?

atlas repeats a task until it is accepted, and a repeat may carry a fresh clone token, a freshly signed download URL
or another trace id. So credentials, and everything in `_meta` but the pool, are not hashed. Default values are not
hashed either (`Payload` omits them): else a release that adds a field would compute another hash for the same task.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from runner.payloads import Repository, remotes
from runner.payloads.analysis_run import Check
from runner.payloads.fields import Keys

_encoder = msgspec.json.Encoder(order="deterministic")


def fingerprint(request_type: str, task: Any) -> str:
    """A hash of `task` (a request, or the part of one that a single job is for), as 32 hexadecimal digits."""
    bare = {name: _bare(name, getattr(task, name)) for name in task.__struct_fields__}
    encoded = _encoder.encode([request_type, msgspec.structs.replace(task, **bare)])
    return sha256(encoded).hexdigest()[:32]


def _bare(name: str, value: Any) -> Any:
    """The field's value without the parts that may change when atlas repeats the request."""
    if isinstance(value, Repository):
        return msgspec.structs.replace(value, remote_url=_public(value.remote_url))
    return _BARE[name](value) if name in _BARE else value


def _unsigned(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """The checks without the credentials and queries of their URLs; signatures are in queries."""
    return tuple(
        msgspec.structs.replace(
            check,
            analysis_context_url=_public(check.analysis_context_url),
            artifacts=tuple(
                msgspec.structs.replace(artifact, url=_public(artifact.url)) for artifact in check.artifacts
            ),
        )
        for check in checks
    )


def _public(url: str) -> str:
    remote = remotes.parse(url)
    return remote.public if remote else url.partition("?")[0]


_BARE: dict[str, Any] = {
    "keys": lambda _: Keys(),
    "internal_token": lambda _: "",
    "meta": lambda meta: {"resource_pool": meta.get("resource_pool", "")},
    "config": lambda config: msgspec.Raw(msgspec.json.format(bytes(config), indent=-1)),
    "checks": _unsigned,
}
"""Field name → the function that removes its changing parts, for all request types."""
