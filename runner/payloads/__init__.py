"""What atlas sends: one frozen struct per request type, with every field of the wire contract.

In here: the types, their bounds, and reading them. Not in here: what is done with them (`runner.commands`), and
anything that opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from runner.config.reading import read
from runner.errors import Invalid, Problem, TooLarge
from runner.payloads import analysis_run, remotes
from runner.payloads.analysis_run import AnalysisRun
from runner.payloads.autofix_run import AutofixRun
from runner.payloads.cancel_check_run import CancelCheckRun
from runner.payloads.fields import Payload, Pool, RepositoryConfig
from runner.payloads.patcher_run import PatcherRun
from runner.payloads.ssh_verify_run import SshVerifyRun
from runner.payloads.transformer_run import TransformerRun

Request = AnalysisRun | AutofixRun | TransformerRun | SshVerifyRun | CancelCheckRun | PatcherRun

REQUEST_TYPES: dict[str, type[Request]] = {
    "analysis_run": AnalysisRun,
    "autofix_run": AutofixRun,
    "transformer_run": TransformerRun,
    "ssh_verify_run": SshVerifyRun,
    "cancel_check_run": CancelCheckRun,
    "patcher_run": PatcherRun,
}
ALIASES = {"transforer_run": "transformer_run"}
"""Spellings of atlas's own list."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request's body."""


class RequestPolicy(msgspec.Struct, frozen=True):
    """The part of the configuration that decides which requests are taken. Nothing in it is secret."""

    runner_id: str
    public_key: str
    """PEM of the control plane's key; empty where requests need no token."""
    allow_file_remotes: bool = False


def decode(body: bytes, kind: type[Request], policy: RequestPolicy) -> Any:
    """`body` as a `kind`, complete and in bounds.

    Raises TooLarge over `MAX_BODY`, Malformed where it is no JSON, Invalid with all bad fields.
    """
    if len(body) > MAX_BODY:
        raise TooLarge(f"the body has {len(body)} bytes; {MAX_BODY} are taken")
    return read(body, kind, rules=lambda request: _problems(request, policy))


def _problems(request: Any, policy: RequestPolicy) -> Iterator[Problem]:
    """The rules that no field's type expresses. Fields that could not be read are None here."""
    if isinstance(request, AnalysisRun):
        yield from analysis_run.problems(request)
    for at, url in _remotes(request):
        if message := remotes.objection(
            url, allow_file=policy.allow_file_remotes, only_ssh=isinstance(request, SshVerifyRun)
        ):
            yield Problem(at, message)
    if config := getattr(request, "config", None):
        yield from _within("/config", bytes(config), RepositoryConfig)
    if pool := (request.meta or {}).get("resource_pool"):
        yield from _within("/_meta/resource_pool", msgspec.json.encode(pool), Pool)


def _remotes(request: Any) -> Iterator[tuple[str, str]]:
    for name in ("vcs_meta", "ssh_meta"):
        part = getattr(request, name, None)
        if part is not None and part.remote_url is not None:
            yield f"/{name}/remote_url", part.remote_url


def _within(at: str, document: bytes, kind: Any) -> Iterator[Problem]:
    try:
        read(document, kind)
    except Invalid as error:
        for problem in error.problems:
            yield Problem(at + problem.pointer, problem.message)


__all__ = [
    "ALIASES",
    "MAX_BODY",
    "REQUEST_TYPES",
    "AnalysisRun",
    "AutofixRun",
    "CancelCheckRun",
    "PatcherRun",
    "Payload",
    "Request",
    "RequestPolicy",
    "SshVerifyRun",
    "TransformerRun",
    "decode",
]
