"""The payload of `echo_run`: words to say, and the code to end with."""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import Id, Line, Number, Payload, Repository, Request


class Origin(Repository, frozen=True):
    """A part that names a repository."""


class Speech(Payload, frozen=True):
    """What the job says."""

    words: Line = ""


class EchoRun(Request, frozen=True):
    """The request."""

    run_id: Id
    origin: Origin
    speech: Speech = Speech()
    image: Line = "shell"
    exit_code: Number = 0
    meta: dict[str, Line] = field(default_factory=dict, name="_meta")
