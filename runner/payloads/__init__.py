"""What atlas sends: one frozen struct per request type, with every field of the wire contract.

In here: the types, their bounds, and reading them. Not in here: which request types there are
(`runner.request_types`), what is done with them (`runner.commands`), and anything that opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from runner.config.reading import mismatch, read
from runner.errors import Invalid, Problem, TooLarge
from runner.payloads import addresses, numbers
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


def _problems(request: Request, policy: RequestPolicy) -> Iterator[Problem]:
    """The rules that no field's type expresses. Fields that could not be read are None here."""
    yield from request.problems()
    yield from addresses.problems(request, allow_file=policy.allow_file_remotes)
    if config := getattr(request, "config", None):
        yield from _config_problems(bytes(config))
    if (pool := (getattr(request, "meta", None) or {}).get("resource_pool")) and (message := mismatch(pool, Pool)):
        yield Problem("/_meta/resource_pool", message)


def _config_problems(config: bytes) -> Iterator[Problem]:
    try:
        read(config, RepositoryConfig, at="/config")
    except Invalid as error:
        yield from error.problems
    yield from numbers.problems(config, "/config")


__all__ = ["MAX_BODY", "Payload", "Repository", "Request", "RequestPolicy", "decode"]
