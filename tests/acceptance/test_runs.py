"""Every kind of run, on each cluster, from the request to the result that atlas takes."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import World
from tests.acceptance.remotes import SshKey

Document = Callable[[str], dict[str, Any]]
SMALL = {"cpu_limit": "100", "memory_limit": "256"}

PATCH_COMMIT = {
    "commit": {"title": "Formatted", "message": "By a transformer.", "destination_branch": "formatted"},
    "author": {"name": "Robot", "email": "robot@example.org"},
}


def _placed(world: World, kind: str, request: dict[str, Any], driver: str) -> None:
    (job,) = world.send(kind, request)
    assert (job["driver"], job["state"]) == (driver, "created")
    (again,) = world.send(kind, request)
    assert (again["name"], again["state"]) == (job["name"], "exists")


def test_analysis(world: World, driver: str, document: Document) -> None:
    request = document("analysis")
    request["vcs_meta"]["base_oid"] = world.repository.base
    request["checks"][0]["analyzer_meta"] |= SMALL
    _placed(world, "analysis", request, driver)

    result = world.result(request["run_id"])

    assert result["status"]["code"] == 0, result["status"]
    found = {(issue["issue_code"], issue["location"]["path"]) for issue in result["report"]["issues"]}
    assert {("PYL-W0611", "shop/orders.py"), ("FLK-E711", "shop/orders.py")} <= found


def _autofix(world: World, driver: str, document: Document) -> dict[str, Any]:
    request = document("autofix")
    span = {"begin": {"line": 1, "column": 8}, "end": {"line": 1, "column": 10}}
    fix = {"issue_code": "PYL-W0611", "occurrences": [{"path": "shop/orders.py", "position": span}]}
    request["autofixer"]["autofixes"] = [fix]
    request["autofixer"]["autofix_meta"] |= SMALL
    _placed(world, "autofix", request, driver)
    return world.result(request["run_id"])


def test_autofix_and_commit(world: World, driver: str, document: Document, tmp_path: Path) -> None:
    """What autofix stores, commit applies and pushes."""
    fixed = _autofix(world, driver, document)
    assert fixed["status"]["code"] == 0, fixed["status"]
    (patch,) = fixed["report"]["patches"]
    subprocess.run(["git", "clone", "-q", str(world.repository.path), str(tmp_path / "clone")], check=True)
    subprocess.run(
        ["git", "apply", "--check", "-"], input=patch["patch"], text=True, cwd=tmp_path / "clone", check=True
    )

    branch = f"fixed-on-{driver}"
    meta = {**PATCH_COMMIT, "commit": {**PATCH_COMMIT["commit"], "destination_branch": branch}}
    sent = document("autofix")
    request = {
        "run_id": sent["run_id"],
        "run_serial": "0",
        "keys": {},
        "vcs_meta": sent["vcs_meta"],
        "artifacts": {"key": fixed["run_id"], "patch_ids": {patch["path"]: [patch["id"]]}},
        "patch_meta": json.dumps(meta),
        "_meta": sent["_meta"],
    }
    _placed(world, "commit", request, driver)
    committed = world.result(request["run_id"])

    assert committed["status"]["code"] == 0, committed["status"]
    assert world.repository.branch(branch) == committed["commit_sha"]
    assert "import os" not in world.repository.read(branch, "shop/orders.py")


def test_transformer(world: World, driver: str, document: Document) -> None:
    sent = document("autofix")
    request = {
        **{name: sent[name] for name in ("run_id", "run_serial", "config", "vcs_meta", "keys", "_meta")},
        "transformer": {"command": "/app/bumblebee", "tools": ["black"], "meta": {"version": "dev", **SMALL}},
        "patch_commit": PATCH_COMMIT,
    }
    _placed(world, "transformer", request, driver)

    result = world.result(request["run_id"])

    assert result["status"]["code"] == 0, result["status"]
    assert result["report"]["changed_files"], result["report"]


@pytest.mark.parametrize(("good", "status"), [(True, 0), (False, 10)])
def test_ssh_verify(world: World, driver: str, document: Document, tmp_path: Path, good: bool, status: int) -> None:
    """The key opens the repository, or the server refuses it: either way atlas hears so, from us."""
    key = world.key if good else SshKey.make(tmp_path / "stranger")
    run_id = uuid.uuid4().hex
    request = {
        "run_id": run_id,
        "ssh_meta": {"remote_url": world.ssh_url},
        "keys": {"ssh": {"private": key.private, "public": key.public}},
        "_meta": document("analysis")["_meta"],
    }
    _placed(world, "ssh-verify", request, driver)

    assert world.result(run_id) == {"run_id": run_id, "status": status}


def test_a_failed_clone_is_told_with_its_reason(world: World, driver: str, document: Document) -> None:
    request = document("analysis")
    request["vcs_meta"]["checkout_oid"] = "f" * 40
    request["checks"][0]["analyzer_meta"] |= SMALL
    _placed(world, "analysis", request, driver)

    status = world.result(request["run_id"])["status"]

    assert status["code"] == 5103, status
    assert "cloned" in status["hmessage"]


def test_a_cancel_is_confirmed(world: World, driver: str, document: Document) -> None:
    """The job cannot start: it wants more than any node has. It is cancelled, and stays so."""
    request = document("analysis")
    request["checks"][0]["analyzer_meta"] |= {"cpu_limit": "200000"}
    _placed(world, "analysis", request, driver)
    cancel_id = uuid.uuid4().hex
    meta = {"run_id": request["run_id"], "run_serial": request["run_serial"], "check_seq": "1"}
    (cancelled,) = world.send("cancel-check", {"run_id": cancel_id, "run_serial": "1", "analysis_meta": meta})
    assert cancelled["state"] == "cancelled"

    assert world.result(cancel_id)["status"]["code"] == 5000
    (late,) = world.send("analysis", request)
    assert late["state"] == "cancelled"
