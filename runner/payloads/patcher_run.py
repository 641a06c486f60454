"""`patcher_run` (the path says `commit`): apply stored patches and push them, in one job."""

from __future__ import annotations

from msgspec import field

from runner.payloads.fields import Document, Id, Key, Keys, Line, Number, PathKey, Relayed, Request, Serial, VcsMeta


class PatchArtifacts(Relayed, frozen=True):
    """Where the patches are: a key in the object storage, and the ids of each file's patches."""

    key: Line = ""
    patch_ids: dict[PathKey, tuple[Number | str, ...]] = {}


class PatcherRun(Request, frozen=True):
    """The request. `patch_meta` is a string that itself holds JSON; coat reads it, we do not."""

    run_id: Id
    run_serial: Serial
    vcs_meta: VcsMeta
    keys: Keys = Keys()
    artifacts: PatchArtifacts = PatchArtifacts()
    patch_meta: Document = ""
    meta: dict[Key, Line] = field(default_factory=dict, name="_meta")
