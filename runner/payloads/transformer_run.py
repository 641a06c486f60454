"""`transformer_run` (also spelt `transforer_run`): format the code and commit the result, in one job."""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import (
    Branch,
    Configured,
    CpuLimit,
    Id,
    ImageTag,
    Key,
    Keys,
    Line,
    MemoryLimit,
    Payload,
    Serial,
    Text,
    VcsMeta,
)


class TransformerMeta(Payload, frozen=True):
    """The version of the transformer's image and how much of a machine it gets."""

    version: ImageTag
    cpu_limit: CpuLimit
    memory_limit: MemoryLimit


class Transformers(Payload, frozen=True):
    """The command and the formatters it runs."""

    meta: TransformerMeta
    command: Line = ""
    tools: tuple[Line, ...] = ()


class Commit(Payload, frozen=True):
    """What the commit with the changes says and where it goes."""

    title: Line = ""
    message: Text = ""
    destination_branch: Branch = ""


class Author(Payload, frozen=True):
    """Who the commit is by."""

    name: Line = ""
    email: Line = ""


class PatchCommit(Payload, frozen=True):
    """The commit to make."""

    commit: Commit = Commit()
    author: Author = Author()


class TransformerRun(Configured, frozen=True):
    """The request."""

    run_id: Id
    run_serial: Serial
    vcs_meta: VcsMeta
    transformer: Transformers
    keys: Keys = Keys()
    ds_config_updated: bool = False
    patch_commit: PatchCommit = PatchCommit()
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
