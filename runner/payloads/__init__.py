"""What atlas sends: one frozen struct per request type, with every field of the wire contract.

In here: the types, their bounds, and reading them. Not in here: which request types there are
(`runner.request_types`), what is done with them (`runner.commands`), and anything that opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from runner.config.reading import read
from runner.errors import Invalid, Problem, TooLarge
from runner.payloads import addresses
from runner.payloads.fields import Payload, Pool, Repository, RepositoryConfig, Request

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request's body."""

_Request = TypeVar("_Request", bound=Request)


class RequestPolicy(msgspec.Struct, frozen=True):
    """The part of the configuration that decides which requests are taken. Nothing in it is secret."""

    runner_id: str
    public_key: str
    """PEM of the control plane's keys, one after another; empty where requests need no token."""
    allow_file_remotes: bool = False


def decode(body: bytes, kind: type[_Request], policy: RequestPolicy) -> _Request:
    """`body` as a `kind`, complete and in bounds.

    Raises TooLarge over `MAX_BODY`, Malformed where it is no JSON, Invalid with all bad fields.
    """
    if len(body) > MAX_BODY:
        raise TooLarge(f"the body has {len(body)} bytes; {MAX_BODY} are taken")
    return read(body, kind, rules=lambda request: _problems(request, policy))


def _problems(request: Any, policy: RequestPolicy) -> Iterator[Problem]:
    """The rules that no field's type expresses. Fields that could not be read are None here."""
    yield from request.problems()
    yield from addresses.problems(request, allow_file=policy.allow_file_remotes)
    if config := getattr(request, "config", None):
        yield from _within("/config", bytes(config), RepositoryConfig)
    if pool := (getattr(request, "meta", None) or {}).get("resource_pool"):
        yield from _within("/_meta/resource_pool", msgspec.json.encode(pool), Pool)


def _within(at: str, document: bytes, kind: Any) -> Iterator[Problem]:
    try:
        read(document, kind)
    except Invalid as error:
        for problem in error.problems:
            yield Problem(at + problem.pointer, problem.message)


__all__ = ["MAX_BODY", "Payload", "Repository", "Request", "RequestPolicy", "decode"]
