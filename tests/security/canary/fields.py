"""Which fields are secret, and the documents that have a marker in each of them.

Every text field of every request stands in one of two tables, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from random import Random
from typing import Any, get_args, get_origin

import msgspec

from tests.unit import documents

SECRET_FIELDS = {"remote_url", "url", "analysis_context_url", "private", "internal_token"}

PUBLIC_FIELDS = {
    *("run_id", "run_serial", "check_seq", "checkout_oid", "base_oid", "commit_oid", "base_branch", "branch_name"),
    *("previous_completed_run_commit_oid", "repository_name", "sparse_checkout_path", "destination_branch"),
    *("name", "image_path", "analyzer_type", "command", "version", "cpu_limit", "memory_limit", "trigger"),
    *("issue_code", "path", "paths", "tools", "processors", "title", "message", "email", "user", "key", "public"),
    *("meta", "metadata", "patch_ids", "patch_meta", "config"),
}
"""Names, sizes, texts and settings. They are in a job's spec and in its arguments; docs/security.md says so."""

SECRET_SETTINGS = {"runner.privateKey", "sentry.dsn", "results.proxy"}
PUBLIC_SETTINGS = {
    *("deepsource.publicKey", "kubernetes.imageRegistry.pullSecretName", "rabbitmq.queues.key"),
    *(
        "nomad.keyFile",
        "nomad.tokenFile",
        "nomad.credentialsVariable",
        "grpc.tls.key",
        "artifactSecretName",
        "pools.tolerations.key",
    ),
}
"""Names and paths of secrets, public keys, routing keys and keys of labels."""

_SOUNDS_SECRET = re.compile("key|token|secret|password|credential|dsn|proxy", re.IGNORECASE)


class Markers:
    """Makes markers, and knows which place each was made for."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)
        self.places: dict[str, str] = {}
        """By marker: where it was put."""

    def make(self, place: str, size: int = 20) -> str:
        """A word that looks like nothing in particular, so that only its place can have it masked."""
        marker = "".join(self._random.choices("bcdfghjkmnpqrstvwxz", k=size))
        self.places[marker] = place
        return marker

    def add(self, place: str, value: str) -> str:
        """A secret that exists already; a part of it is searched for."""
        self.places[value] = place
        return value

    def key(self, place: str) -> str:
        """A private key as ssh-keygen writes it. Each of its lines is a marker."""
        body = base64.b64encode(b"openssh-key-v1\0" + self._random.randbytes(400)).decode()
        lines = [body[at : at + 70] for at in range(0, len(body), 70)]
        for line in lines[1:-1]:
            self.add(place, line)
        return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


def document(markers: Markers, request_type: str, run_id: str, word: str, pool: str) -> dict[str, Any]:
    """A request with every field of the contract, and a marker in each secret one. `word` says how the job ends."""
    found = documents.whole(request_type)
    for pointer, value in list(documents.places(found)):
        field = pointer.rpartition("/")[2]
        place = f"{request_type}{pointer}"
        if field in SECRET_FIELDS and isinstance(value, str):
            documents.put(found, pointer, _secret(markers, field, place, word, ssh=request_type == "ssh_verify_run"))
    found["run_id"] = run_id
    if request_type != "cancel_check_run":
        found["_meta"] = {"resource_pool": pool}
    if "config" in found:
        found["config"] = {"version": 1, "exclude_patterns": [f"word-{word}"]}
    for meta in _limits(found):
        meta |= {"cpu_limit": "100", "memory_limit": "64"}
    return found


def _secret(markers: Markers, field: str, place: str, word: str, *, ssh: bool) -> str:
    if field == "private":
        return markers.key(place)
    if field == "internal_token":
        return markers.make(place)
    login, query = markers.make(f"{place} (password)"), markers.make(f"{place} (query)")
    scheme = "ssh" if ssh else "https"
    return f"{scheme}://user:{login}@host.invalid/word-{word}/x.git?private={query}"


def _limits(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "cpu_limit" in value:
            yield value
        for each in value.values():
            yield from _limits(each)
    elif isinstance(value, list):
        for each in value:
            yield from _limits(each)


def text_fields(kind: Any) -> Iterator[str]:
    """The name of every field below this type that can hold text."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            if _holds_text(field.type):
                yield field.name
            yield from text_fields(field.type)
        return
    for argument in get_args(kind):
        yield from text_fields(argument)


def _holds_text(kind: Any) -> bool:
    if kind in (str, msgspec.Raw):
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return False
    return get_origin(kind) is not None and any(_holds_text(each) for each in get_args(kind))


def settings_that_sound_secret(kind: Any, above: str = "") -> Iterator[str]:
    """The key of every text in the configuration whose name sounds like a secret's."""
    for field in msgspec.structs.fields(kind):
        key = f"{above}.{field.encode_name}".removeprefix(".")
        structs = [each for each in (field.type, *get_args(field.type)) if _is_struct(each)]
        for struct in structs:
            yield from settings_that_sound_secret(struct, key)
        if not structs and _holds_text(field.type) and _SOUNDS_SECRET.search(field.encode_name):
            yield key


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
