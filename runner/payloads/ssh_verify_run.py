"""`ssh_verify_run`: does this key open that repository? And the numbers that answer it."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from runner.payloads.fields import Id, Key, Keys, Line, Login, Port, Repository, Request

EXIT_CODES = {
    0: "the key opens the repository",
    10: "the server refused the key",
    11: "the server's host key is not trusted",
    12: "the server cannot be reached",
    13: "the key is accepted, but there is no such repository for it",
    14: "something else failed; see the log",
}
"""The exit codes of the job that tries the key, and therefore the codes of the result that atlas gets."""


class SshMeta(Repository, frozen=True):
    """The repository over ssh. An empty user and port 0 leave the choice to the URL and to ssh's defaults."""

    only_ssh: ClassVar[bool] = True

    user: Login = ""
    port: Port = 0


class SshVerifyRun(Request, frozen=True):
    """The request."""

    run_id: Id
    ssh_meta: SshMeta
    keys: Keys = Keys()
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
