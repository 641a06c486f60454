"""coat before marvin: the requested code, marvin and the artifacts are in their directories."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.examples.conftest import Atlas, Finished, Program, Repository, clone_flags
from tests.examples.git_server import git_server


def head(code: Path) -> str:
    return _git(code, "rev-parse", "HEAD")


def _git(code: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_checked_out_and_the_base_branch_is_fetched(
    coat: Program, root: Path, repository: Repository
) -> None:
    wanted = repository.commit(a_dot_py="a = 1\n")
    latest = repository.commit(a_dot_py="a = 2\n")
    ended = coat(*clone_flags(repository, wanted, artifacts="[]"))
    assert ended.returncode == 0, ended.stderr
    assert (root / "code/a.py").read_text() == "a = 1\n"
    assert head(root / "code") == wanted
    assert _git(root / "code", "rev-parse", "origin/main") == latest


def test_marvin_is_one_executable_file_for_the_main_container(
    coat: Program, root: Path, repository: Repository
) -> None:
    assert coat(*clone_flags(repository, repository.commit())).returncode == 0
    copied = root / "marvin/marvin"
    assert os.access(copied, os.X_OK)
    ended = subprocess.run([copied, "--help"], capture_output=True, text=True, check=False)
    assert "--analyze" in ended.stdout


@pytest.mark.parametrize("digits", [40, 9])
def test_a_commit_that_is_on_no_branch_is_found(digits: int, coat: Program, root: Path, repository: Repository) -> None:
    repository.commit()
    repository.git("checkout", "--quiet", "--detach")
    wanted = repository.commit(pull_dot_py="")
    repository.git("update-ref", "refs/pull/7/head", wanted)
    repository.git("checkout", "--quiet", "main")
    ended = coat(*clone_flags(repository, wanted[:digits]))
    assert ended.returncode == 0, ended.stderr
    assert head(root / "code") == wanted


def test_a_server_that_gives_only_what_a_reference_names_is_enough(
    coat: Program, root: Path, repository: Repository
) -> None:
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "side")
    wanted = repository.commit(one_dot_py="")
    repository.commit(two_dot_py="")
    with git_server(repository.path.parent, "ada", "x", lambda _: None, old=True) as server:
        ended = coat(*clone_flags(f"http://ada:x@{server}/repository/.git", wanted))
    assert ended.returncode == 0, ended.stderr
    assert head(root / "code") == wanted


def test_a_sparse_checkout_is_made_only_on_request(coat: Program, root: Path, repository: Repository) -> None:
    oid = repository.commit(app__a_dot_py="", lib__b_dot_py="")
    assert coat(*clone_flags(repository, oid)).returncode == 0
    assert (root / "code/lib").is_dir()
    assert coat(*clone_flags(repository, oid, sparse_checkout_path="app")).returncode == 0
    assert (root / "code/app/a.py").is_file()
    assert not (root / "code/lib").exists()


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_submodules_are_cloned_only_on_request(
    wanted: str, coat: Program, root: Path, repository: Repository, tmp_path: Path
) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit(inside_dot_py="")
    repository.git("submodule", "--quiet", "add", "../inner", "module")
    ended = coat(*clone_flags(repository, repository.commit(), clone_submodules=wanted))
    assert ended.returncode == 0, ended.stderr
    assert (root / "code/module/inside.py").exists() == (wanted == "true")


def test_the_name_of_a_branch_may_resemble_a_reference_to_a_secret(
    coat: Program, root: Path, repository: Repository
) -> None:
    oid = repository.commit()
    branch = "$(RESULT_HTTP_TOKEN)"
    repository.git("branch", branch)
    ended = coat(*clone_flags(repository, oid, base_branch=branch), RESULT_HTTP_TOKEN="t0k3n")
    assert ended.returncode == 0, ended.stderr
    assert _git(root / "code", "rev-parse", f"origin/{branch}") == oid


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"base_branch": "gone"}, "couldn't find remote ref refs/heads/gone"),
        ({"base_branch": "a:b"}, "is not a name that a branch can have"),
        ({"checkout_oid": "f" * 40}, "is not in the repository"),
        ({"checkout_oid": "--help"}, ""),
        ({"artifacts": "{}"}, "--artifacts must be a JSON array"),
    ],
)
def test_a_clone_that_is_impossible_fails_with_a_reason(
    flags: dict[str, str], reason: str, coat: Program, repository: Repository
) -> None:
    ended = coat(*clone_flags(repository, repository.commit(), **flags))
    assert ended.returncode != 0
    assert reason in ended.stderr


def test_artifacts_are_fetched_over_http_only_and_stay_in_their_directory(
    coat: Program, root: Path, repository: Repository, atlas: Atlas
) -> None:
    oid = repository.commit()

    def fetch(key: str, url: str) -> Finished:
        return coat(*clone_flags(repository, oid, artifacts=json.dumps([{"key": key, "url": url}])))

    assert fetch("coverage/report.json", f"{atlas.url}/api/runs").returncode == 0
    assert json.loads((root / "artifacts/coverage/report.json").read_text())["runs"] == []
    assert "must have an http or https URL" in fetch("x", "file:///etc/passwd").stderr
    assert "leads out of" in fetch("../x", f"{atlas.url}/api/runs").stderr
    assert "404" in fetch("x", f"{atlas.url}/nothing").stderr
    assert not (root / "x").exists()
