"""`analysis_run`: analyse one commit with one or several analyzers, a job for each check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from runner.errors import Problem
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
    Oid,
    OptionalOid,
    Payload,
    RelativePath,
    Relayed,
    RepositoryPath,
    Serial,
    Text,
    Url,
    VcsMeta,
)


class Artifact(Relayed, frozen=True):
    """A file that coat fetches for the analyzer. `url` may be signed, so it counts as a secret."""

    key: RelativePath = ""
    url: Url = ""
    metadata: dict[Key, Line] = {}


class AnalyzerMeta(Payload, frozen=True):
    """Which image analyses, with which command and how much of a machine."""

    name: ImagePath
    version: ImageTag
    cpu_limit: CpuLimit
    memory_limit: MemoryLimit
    image_path: Line = ""
    analyzer_type: Line = ""
    command: Line = ""
    cache_version: Number = 0
    trigger: Line = ""
    is_ai_enabled: bool = False


class DiffMetaCommit(Payload, frozen=True):
    """A commit of the change under analysis, with the paths it touches."""

    commit_oid: Oid
    paths: tuple[RepositoryPath, ...] = ()


class Check(Payload, frozen=True):
    """One analyzer's part of the run."""

    check_seq: Serial
    analyzer_meta: AnalyzerMeta
    artifacts: tuple[Artifact, ...] = ()
    processors: tuple[Line, ...] = ()
    diff_meta_commits: tuple[DiffMetaCommit, ...] = ()
    analysis_context_url: Url = ""


class AnalysisRun(Configured, frozen=True):
    """The request. `internal_token` is atlas's own: it is read, and goes nowhere."""

    run_id: Id
    run_serial: Serial
    vcs_meta: VcsMeta
    checks: Annotated[tuple[Check, ...], Meta(min_length=1, max_length=256, description="a list of 1 to 256 checks")]
    keys: Keys = Keys()
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
    ds_config_updated: bool = False
    is_full_run: bool = False
    repo_id: Number = 0
    previous_completed_run_commit_oid: OptionalOid = ""
    internal_token: Text = ""

    def problems(self) -> Iterator[Problem]:
        """Two checks with one number would be one job."""
        seen: dict[str, int] = {}
        for index, check in enumerate(self.checks or ()):
            if check is None or check.check_seq is None:
                continue
            first = seen.setdefault(check.check_seq, index)
            if first != index:
                yield Problem(f"/checks/{index}/check_seq", f"must differ from that of /checks/{first}")
