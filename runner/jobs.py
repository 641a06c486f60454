"""A job as every driver can render it: no cluster's words, no secret's value in anything that is printed.

Values that are secret are named in `env` and `args` by a SecretRef, and stand in `JobSpec.secrets` only, each as a
Secret (known already) or a TokenClaims (signed when the job is really made, since signing costs and needs the clock).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the value types: immutable, compared by content."""


class Secret:
    """A string that shows itself only when asked by name. Its repr, str and serialisation are masked."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Every call site is a place to look at in a review."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"


class TokenClaims(Value, frozen=True):
    """A result token to be signed: what it lets its holder do, for which run, and for how many seconds."""

    scope: str
    run_id: str
    job: str
    lifetime: int


class SecretRef(Value, frozen=True):
    """Stands for the secret of that name; the name is also the environment variable that carries it."""

    name: str


Text = str | SecretRef


class Resources(Value, frozen=True):
    """CPU in millicores, memory in MiB."""

    cpu: int
    memory: int


class Container(Value, frozen=True):
    """One program of a job. `command` starts it; `args` follow, and are all that a request has a say in."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[Text, ...]
    env: tuple[tuple[str, Text], ...]
    requests: Resources
    limits: Resources

    def secret_names(self) -> tuple[str, ...]:
        """The secrets that this container sees, each once, in a stable order."""
        refs = [value for _, value in self.env] + list(self.args)
        return tuple(sorted({ref.name for ref in refs if isinstance(ref, SecretRef)}))


class Volume(Value, frozen=True):
    """A directory that all containers of the job share; empty at first, or a secret that the cluster already has."""

    name: str
    path: str
    existing_secret: str = ""


class Report(Value, frozen=True):
    """What is needed to tell atlas of the job's end. It is kept with the job on the cluster."""

    request_type: str
    run_id: str
    path: str
    task: str
    scope: str
    check_seq: str = ""
    analyzer: str = ""


class Deadlines(Value, frozen=True):
    """Seconds allowed for waiting on a node, for the init container, and for the main container."""

    queue: int
    clone: int
    run: int

    @property
    def total(self) -> int:
        """Seconds from acceptance to the end at the latest; never less than the time the main container is promised."""
        return self.queue + self.clone + self.run


class JobSpec(Value, frozen=True):
    """One job. `name` is derived from the request alone; `fingerprint` tells two requests for one name apart."""

    name: str
    fingerprint: str
    pool: str
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    init: Container | None
    main: Container
    volumes: tuple[Volume, ...]
    deadlines: Deadlines
    report: Report
    secrets: Mapping[str, Secret | TokenClaims]

    @property
    def containers(self) -> tuple[Container, ...]:
        """Init first, as they run."""
        return (self.init, self.main) if self.init else (self.main,)


class Cancellation(Value, frozen=True):
    """Stop the job of that name, now or whenever it comes. `report` is the confirmation that atlas waits for."""

    name: str
    labels: Mapping[str, str]
    report: Report


Action = JobSpec | Cancellation
State = Literal["created", "exists", "cancelled"]


class JobResult(Value, frozen=True):
    """What became of one job of a command: the answer's `jobs` entry."""

    name: str
    driver: str
    state: State


ResolveSecrets = Callable[[JobSpec], dict[str, str]]
"""Gives the values of a job's secrets, signing its token with the current clock. Called once for each job made."""
