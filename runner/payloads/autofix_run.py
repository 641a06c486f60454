"""`autofix_run`: fix the given occurrences of issues, in one job."""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import (
    Configured,
    CpuLimit,
    Id,
    ImagePath,
    ImageTag,
    Key,
    Keys,
    Line,
    MemoryLimit,
    Number,
    Payload,
    Relayed,
    RepositoryPath,
    Serial,
    VcsMeta,
)


class AutofixMeta(Payload, frozen=True):
    """Which image fixes, with which command and how much of a machine."""

    name: ImagePath
    version: ImageTag
    cpu_limit: CpuLimit
    memory_limit: MemoryLimit
    command: Line = ""
    cache_version: Number = 0


class Coordinate(Relayed, frozen=True):
    """A place in a file: line from 1, column as the analyzer counts it."""

    line: Number = 0
    column: Number = 0


class Span(Relayed, frozen=True):
    """From one place to another."""

    begin: Coordinate = Coordinate()
    end: Coordinate = Coordinate()


class Occurrence(Relayed, frozen=True):
    """Where an issue was found."""

    path: RepositoryPath = ""
    position: Span = Span()


class Autofix(Relayed, frozen=True):
    """One issue with all the places to fix it in."""

    issue_code: Line = ""
    occurrences: tuple[Occurrence, ...] = ()


class Autofixer(Payload, frozen=True):
    """The fixer and its work."""

    autofix_meta: AutofixMeta
    autofixes: tuple[Autofix, ...] = ()


class AutofixRun(Configured, frozen=True):
    """The request."""

    run_id: Id
    run_serial: Serial
    vcs_meta: VcsMeta
    autofixer: Autofixer
    keys: Keys = Keys()
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
