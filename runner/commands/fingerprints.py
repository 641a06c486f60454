"""Fingerprints: are two requests for one name the same task?

atlas repeats a task until it is accepted, and a repeat may carry a fresh clone token, a freshly signed download URL,
another trace id or another pool. So credentials and `_meta` are not hashed. Default values are not hashed either
(`Payload` omits them): else a release that adds a field would compute another hash for the same task.

A fingerprint is `VERSION:HASH`. Release 0.1 wrote no version and hashed the pool as well. A job of that release may
still stand under the name, so its form is computed if such a fingerprint is met, and only then.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from runner.jobs import Fingerprint, Value
from runner.payloads import Repository, remotes
from runner.payloads.analysis_run import Check
from runner.payloads.fields import Keys

VERSION = "2"

_encoder = msgspec.json.Encoder(order="deterministic")


def fingerprint(request_type: str, task: Any) -> Fingerprint:
    """The fingerprint of `task`: a request, or the part of one that a single job is for."""
    bare = {}
    for name in task.__struct_fields__:
        value = getattr(task, name)
        if isinstance(value, Repository):
            bare[name] = msgspec.structs.replace(value, remote_url=_public(value.remote_url))
        elif without_changing_parts := _BARE.get(name):
            bare[name] = without_changing_parts(value)
    stripped = msgspec.structs.replace(task, **bare)
    earlier = Release01(request_type, stripped, task.meta.get("resource_pool", ""))
    return Fingerprint(f"{VERSION}:{_hash(request_type, stripped)}", earlier)


class Release01(Value, frozen=True):
    """The same task's fingerprint as release 0.1 wrote it. `task` has no secrets any more."""

    request_type: str
    task: Any
    pool: str

    def __call__(self) -> str:
        """Compute it."""
        return _hash(self.request_type, msgspec.structs.replace(self.task, meta={"resource_pool": self.pool}))


def _hash(request_type: str, task: Any) -> str:
    """32 hexadecimal digits."""
    return sha256(_encoder.encode([request_type, task])).hexdigest()[:32]


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
    "meta": lambda _: {},
    "config": lambda config: msgspec.Raw(msgspec.json.format(bytes(config), indent=-1)),
    "checks": _unsigned,
}
"""Field name → the function that removes its changing parts, for all request types."""
