"""coat as the main container: it commits patches, pushes the branch, and publishes the commit's id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import Atlas, Finished, Program, Repository, clone_flags

META = {
    "commit": {
        "title": "Fix it",
        "message": "All of it.\n\n# even this",
        "destination_branch": "fixes",
    },
    "author": {"name": "Grace", "email": "grace@example.org"},
}
AUTOFIX = "the-autofix-run"
PATCHES = {
    "p1": "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1 @@\n-import os\n print(1)\n",
    "p2": "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-print(1)\n+print(2)\n",
}


def store(atlas: Atlas, patch_id: str, patch: str) -> None:
    token = atlas.token(AUTOFIX, "autofix.*")
    answer = atlas.request("PUT", f"/snippets/{AUTOFIX}/{patch_id}", data=patch.encode(), token=token)
    assert answer.status_code == 201


def commit(
    coat: Program,
    repository: Repository,
    atlas: Atlas,
    run_id: str,
    oid: str,
    *,
    meta: Any = META,
    patch_ids: tuple[str, ...] = ("p1", "p2"),
) -> Finished:
    for patch_id, patch in PATCHES.items():
        store(atlas, patch_id, patch)
    flags = clone_flags(
        repository,
        oid,
        run_id=run_id,
        patch_meta=json.dumps(meta),
        artifacts=json.dumps({"key": AUTOFIX, "patch_ids": {"a.py": patch_ids}}),
    )
    return coat(*flags, *atlas.storage, **atlas.publisher("commit", run_id))


@pytest.fixture
def oid(repository: Repository) -> str:
    return repository.commit(a_dot_py="import os\nprint(1)\n")


def test_patches_are_committed_pushed_and_published(
    coat: Program, repository: Repository, atlas: Atlas, run_id: str, oid: str
) -> None:
    ended = commit(coat, repository, atlas, run_id, oid)
    assert ended.returncode == 0, ended.stderr
    sha = repository.git("rev-parse", "fixes")
    assert atlas.result(run_id) == {
        "run_id": run_id,
        "commit_sha": sha,
        "status": {"code": 0, "hmessage": f"Committed as {sha}.", "err": ""},
    }
    assert repository.git("rev-parse", "fixes^") == oid
    assert repository.git("show", "fixes:a.py") == "print(2)"
    shown = repository.git("show", "--no-patch", "--format=%an <%ae>%n%B", "fixes")
    assert shown == "Grace <grace@example.org>\nFix it\n\nAll of it.\n\n# even this"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meta": {}}, "--patch-meta lacks commit.title, commit.destination_branch, author.name"),
        ({"meta": []}, "--patch-meta must be a JSON object"),
        ({"patch_ids": ()}, "names no patch"),
        ({"patch_ids": ("p3",)}, "patch p3"),
        ({"patch_ids": ("p2",)}, "patch does not apply"),
        ({"oid": "f" * 40}, "is not in the repository"),
        ({"meta": META | {"commit": {"title": "x", "destination_branch": "a..b"}}}, "'a..b' is"),
    ],
)
def test_a_failure_is_published_and_pushes_nothing(
    change: dict[str, Any], reason: str, coat: Program, repository: Repository, atlas: Atlas, run_id: str, oid: str
) -> None:
    ended = commit(coat, repository, atlas, run_id, **{"oid": oid, **change})
    assert ended.returncode == 1
    assert reason in ended.stderr
    kwargs = atlas.result(run_id)
    assert (kwargs["commit_sha"], kwargs["status"]["code"]) == ("", 1)
    assert reason in kwargs["status"]["err"]
    assert repository.git("branch", "--format=%(refname:short)") == "main"


def test_a_branch_with_other_commits_is_not_overwritten(
    coat: Program, repository: Repository, atlas: Atlas, run_id: str, oid: str
) -> None:
    repository.git("checkout", "--quiet", "-b", "fixes")
    moved = repository.commit(other_dot_py="")
    repository.git("checkout", "--quiet", "main")
    assert commit(coat, repository, atlas, run_id, oid).returncode == 1
    assert repository.git("rev-parse", "fixes") == moved
    assert "rejected" in atlas.result(run_id)["status"]["err"]


def test_a_refused_remote_is_published_as_a_failure(
    coat: Program, repository: Repository, atlas: Atlas, run_id: str, oid: str
) -> None:
    flags = clone_flags("ext::id", oid, run_id=run_id, patch_meta=json.dumps(META))
    ended = coat(*flags, *atlas.storage, **atlas.publisher("commit", run_id))
    assert ended.returncode == 1
    assert atlas.result(run_id)["status"]["code"] == 1


def test_a_patch_cannot_leave_the_code(
    coat: Program, repository: Repository, atlas: Atlas, run_id: str, oid: str, root: Path
) -> None:
    store(atlas, "out", "--- /dev/null\n+++ b/../out.py\n@@ -0,0 +1 @@\n+x\n")
    ended = commit(coat, repository, atlas, run_id, oid, patch_ids=("out",))
    assert ended.returncode == 1
    assert not (root / "out.py").exists()
