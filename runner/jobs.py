"""Jobs, independent of any cluster; printing one never shows a secret's value.

`env` and `args` name a secret by a SecretRef. The secret itself is only in `JobSpec.secrets`: a Secret, whose value is
known, or a TokenClaims, which is signed only when the job is created, since signing is slow and needs the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the value types: immutable, compared by content."""


class Secret:
    """A string whose repr, str and serialisation are masked; `reveal` gives its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Review every call of this."""
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
    """The claims of a result token that is to be signed. `lifetime` is in seconds."""

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
    """One program of a job. `command` starts it; `args` follow, and only they are made from the request."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[Text, ...]
    env: tuple[tuple[str, Text], ...]
    requests: Resources
    limits: Resources

    def secret_names(self) -> tuple[str, ...]:
        """The names of the secrets that this container gets, each once, sorted."""
        refs = [value for _, value in self.env] + list(self.args)
        return tuple(sorted({ref.name for ref in refs if isinstance(ref, SecretRef)}))


class Volume(Value, frozen=True):
    """A directory that all containers of the job share; empty at first, or a secret that the cluster already has."""

    name: str
    path: str
    existing_secret: str = ""


class Report(Value, frozen=True):
    """What is needed to report the job's end to atlas. It is stored with the job on the cluster."""

    request_type: str
    run_id: str
    path: str
    task: str
    scope: str
    check_seq: str = ""
    analyzer: str = ""
    request_id: str = ""
    """The id of the request that made the job, or that cancelled it: it is in the logs of both."""
    traceparent: str | UnsetType = UNSET
    """The trace of that request, or of the span that carried it out. Without a trace it is not stored at all."""


class Deadlines(Value, frozen=True):
    """Seconds allowed for waiting on a node, for the init container, and for the main container."""

    queue: int
    clone: int
    run: int

    @property
    def total(self) -> int:
        """The most seconds from a job's creation to its end."""
        return self.queue + self.clone + self.run


class Fingerprint(Value, frozen=True):
    """Distinguishes two requests with one name. `earlier` computes it as an earlier release wrote it."""

    text: str
    earlier: Callable[[], str] | None = None


class JobSpec(Value, frozen=True):
    """One job. `name` is derived from the request alone; `fingerprint` distinguishes two requests with one name."""

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
    earlier_fingerprint: Callable[[], str] | None = None
    """See Fingerprint."""

    def same_task(self, stored: str) -> bool:
        """Whether a stored fingerprint is that of this job. One without a version is of an earlier release."""
        if stored == self.fingerprint:
            return True
        return self.earlier_fingerprint is not None and ":" not in stored and stored == self.earlier_fingerprint()

    @property
    def containers(self) -> tuple[Container, ...]:
        """In the order in which they run."""
        return (self.init, self.main) if self.init else (self.main,)


class Cancellation(Value, frozen=True):
    """Stop the job of that name, also one that is created later. `report` is the confirmation that atlas waits for."""

    name: str
    labels: Mapping[str, str]
    report: Report


Action = JobSpec | Cancellation
State = Literal["created", "exists", "cancelled"]


class JobResult(Value, frozen=True):
    """The result for one job of a command: an entry of the answer's `jobs`."""

    name: str
    driver: str
    state: State


ResolveSecrets = Callable[[JobSpec], dict[str, str]]
"""Gives the values of a job's secrets, and signs its token with the present time. Called once for each new job."""
