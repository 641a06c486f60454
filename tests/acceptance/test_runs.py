"""Every request type, on each cluster, from the request to the result that atlas accepts."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Environment
from tests.acceptance.remotes import SshKey

Document = Callable[[str], dict[str, Any]]
SMALL = {"cpu_limit": "100", "memory_limit": "256"}

PATCH_COMMIT = {
    "commit": {"title": "Formatted", "message": "By a transformer.", "destination_branch": "formatted"},
    "author": {"name": "Robot", "email": "robot@example.org"},
}


def _send(environment: Environment, kind: str, request: dict[str, Any], driver: str) -> None:
    """Send a request twice. The first creates one job of the driver; the repeat finds it."""
    (job,) = environment.send(kind, request)
    assert (job["driver"], job["state"]) == (driver, "created")
    (repeated,) = environment.send(kind, request)
    assert (repeated["name"], repeated["state"]) == (job["name"], "exists")


def test_analysis(environment: Environment, driver: str, document: Document) -> None:
    request = document("analysis")
    request["vcs_meta"]["base_oid"] = environment.repository.base
    request["checks"][0]["analyzer_meta"] |= SMALL
    _send(environment, "analysis", request, driver)

    result = environment.result(request["run_id"])

    assert result["status"]["code"] == 0, result["status"]
    found = {(issue["issue_code"], issue["location"]["path"]) for issue in result["report"]["issues"]}
    assert {("PYL-W0611", "shop/orders.py"), ("FLK-E711", "shop/orders.py")} <= found


def _autofix(environment: Environment, driver: str, document: Document) -> dict[str, Any]:
    request = document("autofix")
    span = {"begin": {"line": 1, "column": 8}, "end": {"line": 1, "column": 10}}
    fix = {"issue_code": "PYL-W0611", "occurrences": [{"path": "shop/orders.py", "position": span}]}
    request["autofixer"]["autofixes"] = [fix]
    request["autofixer"]["autofix_meta"] |= SMALL
    _send(environment, "autofix", request, driver)
    return environment.result(request["run_id"])


def test_autofix_and_commit(environment: Environment, driver: str, document: Document, tmp_path: Path) -> None:
    """Commit applies and pushes the patch that autofix has stored."""
    fixed = _autofix(environment, driver, document)
    assert fixed["status"]["code"] == 0, fixed["status"]
    (patch,) = fixed["report"]["patches"]
    subprocess.run(["git", "clone", "-q", str(environment.repository.path), str(tmp_path / "clone")], check=True)
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
    _send(environment, "commit", request, driver)
    committed = environment.result(request["run_id"])

    assert committed["status"]["code"] == 0, committed["status"]
    assert environment.repository.branch(branch) == committed["commit_sha"]
    assert "import os" not in environment.repository.read(branch, "shop/orders.py")


def test_transformer(environment: Environment, driver: str, document: Document) -> None:
    sent = document("autofix")
    request = {
        **{name: sent[name] for name in ("run_id", "run_serial", "config", "vcs_meta", "keys", "_meta")},
        "transformer": {"command": "/app/bumblebee", "tools": ["black"], "meta": {"version": "dev", **SMALL}},
        "patch_commit": PATCH_COMMIT,
    }
    _send(environment, "transformer", request, driver)

    result = environment.result(request["run_id"])

    assert result["status"]["code"] == 0, result["status"]
    assert result["report"]["changed_files"], result["report"]


@pytest.mark.parametrize(("authorized", "status"), [(True, 0), (False, 10)])
def test_ssh_verify(
    environment: Environment, driver: str, document: Document, tmp_path: Path, authorized: bool, status: int
) -> None:
    """The server accepts the key or refuses it. The Orchestrator reports either to atlas."""
    key = environment.key if authorized else SshKey.make(tmp_path / "unknown")
    run_id = uuid.uuid4().hex
    request = {
        "run_id": run_id,
        "ssh_meta": {"remote_url": environment.ssh_url},
        "keys": {"ssh": {"private": key.private, "public": key.public}},
        "_meta": document("analysis")["_meta"],
    }
    _send(environment, "ssh-verify", request, driver)

    assert environment.result(run_id) == {"run_id": run_id, "status": status}


def test_a_failed_clone_is_reported_with_its_reason(environment: Environment, driver: str, document: Document) -> None:
    request = document("analysis")
    request["vcs_meta"]["checkout_oid"] = "f" * 40
    request["checks"][0]["analyzer_meta"] |= SMALL
    _send(environment, "analysis", request, driver)

    status = environment.result(request["run_id"])["status"]

    assert status["code"] == 5103, status
    assert "cloned" in status["hmessage"]


def test_a_cancelled_check_is_confirmed_and_stays_cancelled(
    environment: Environment, driver: str, document: Document
) -> None:
    """The job cannot start, because it requests more CPU than any node has."""
    request = document("analysis")
    request["checks"][0]["analyzer_meta"] |= {"cpu_limit": "200000"}
    _send(environment, "analysis", request, driver)
    cancel_id = uuid.uuid4().hex
    meta = {"run_id": request["run_id"], "run_serial": request["run_serial"], "check_seq": "1"}
    (cancelled,) = environment.send("cancel-check", {"run_id": cancel_id, "run_serial": "1", "analysis_meta": meta})
    assert cancelled["state"] == "cancelled"

    assert environment.result(cancel_id)["status"]["code"] == 5000
    (repeated,) = environment.send("analysis", request)
    assert repeated["state"] == "cancelled"
