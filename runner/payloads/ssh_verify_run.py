"""`ssh_verify_run`: does this key open that repository?"""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import Id, Keys, Line, Login, Payload, Port, RemoteUrl


class SshMeta(Payload, frozen=True):
    """The repository over ssh. An empty user and port 0 leave the choice to the URL and to ssh's defaults."""

    remote_url: RemoteUrl
    user: Login = ""
    port: Port = 0


class SshVerifyRun(Payload, frozen=True):
    """The request."""

    run_id: Id
    ssh_meta: SshMeta
    keys: Keys = Keys()
    meta: dict[str, Line] = field(default_factory=dict, name="_meta")
