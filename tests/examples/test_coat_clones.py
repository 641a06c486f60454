"""coat before marvin: the right code at the right place, and no secret anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.examples.conftest import Atlas, Finished, Program, Repository, clone_flags
from tests.examples.git_server import git_server

PASSWORD = "s3cr3t/pass word"
QUOTED = "s3cr3t%2Fpass%20word"


def head(code: Path) -> str:
    return _git(code, "rev-parse", "HEAD")


def _git(code: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_lies_in_code_and_the_base_branch_beside_it(
    coat: Program, root: Path, repository: Repository
) -> None:
    wanted = repository.commit(a_dot_py="a = 1\n")
    latest = repository.commit(a_dot_py="a = 2\n")
    ended = coat(*clone_flags(repository, wanted, artifacts="[]"))
    assert ended.returncode == 0, ended.stderr
    assert (root / "code/a.py").read_text() == "a = 1\n"
    assert head(root / "code") == wanted
    assert _git(root / "code", "rev-parse", "origin/main") == latest


def test_marvin_is_left_where_the_main_container_looks(
    coat: Program,
    root: Path,
    repository: Repository,
) -> None:
    assert coat(*clone_flags(repository, repository.commit())).returncode == 0
    copied = root / "marvin/marvin"
    assert os.access(copied, os.X_OK)
    ended = subprocess.run([copied, "--help"], capture_output=True, text=True, check=False)
    assert "--analyze" in ended.stdout


def test_an_image_has_both_programs_without_their_endings(
    tmp_path: Path,
    root: Path,
    repository: Repository,
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    for name in ("coat", "marvin"):
        shutil.copy(Path(__file__).parents[2] / f"examples/{name}.py", app / name)
        (app / name).chmod(0o755)
    flags = clone_flags(repository, repository.commit())
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [app / "coat", *flags],
        env={**environment, "ORCHESTRATOR_ROOT": str(root)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (root / "marvin/marvin").read_bytes() == (app / "marvin").read_bytes()


@pytest.mark.parametrize("digits", [40, 9])
def test_a_commit_that_is_on_no_branch_is_found(
    digits: int,
    coat: Program,
    root: Path,
    repository: Repository,
) -> None:
    repository.commit()
    repository.git("checkout", "--quiet", "--detach")
    wanted = repository.commit(pull_dot_py="")
    repository.git("update-ref", "refs/pull/7/head", wanted)
    repository.git("checkout", "--quiet", "main")
    ended = coat(*clone_flags(repository, wanted[:digits]))
    assert ended.returncode == 0, ended.stderr
    assert head(root / "code") == wanted


def test_a_server_that_gives_only_what_a_reference_names_will_do(
    coat: Program,
    root: Path,
    repository: Repository,
) -> None:
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "side")
    wanted = repository.commit(one_dot_py="")
    repository.commit(two_dot_py="")
    with git_server(repository.path.parent, "ada", "x", lambda _: None, old=True) as server:
        ended = coat(*clone_flags(f"http://ada:x@{server}/repository/.git", wanted))
    assert ended.returncode == 0, ended.stderr
    assert head(root / "code") == wanted


def test_a_sparse_checkout_only_where_asked(
    coat: Program,
    root: Path,
    repository: Repository,
) -> None:
    oid = repository.commit(app__a_dot_py="", lib__b_dot_py="")
    assert coat(*clone_flags(repository, oid)).returncode == 0
    assert (root / "code/lib").is_dir()
    assert coat(*clone_flags(repository, oid, sparse_checkout_path="app")).returncode == 0
    assert (root / "code/app/a.py").is_file()
    assert not (root / "code/lib").exists()


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_submodules_only_where_asked(
    wanted: str, coat: Program, root: Path, repository: Repository, tmp_path: Path
) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit(inside_dot_py="")
    repository.git("submodule", "--quiet", "add", "../inner", "module")
    ended = coat(*clone_flags(repository, repository.commit(), clone_submodules=wanted))
    assert ended.returncode == 0, ended.stderr
    assert (root / "code/module/inside.py").exists() == (wanted == "true")


def test_a_branch_may_be_called_like_a_reference_to_a_secret(
    coat: Program,
    root: Path,
    repository: Repository,
) -> None:
    oid = repository.commit()
    branch = "$(RESULT_HTTP_TOKEN)"
    repository.git("branch", branch)
    ended = coat(*clone_flags(repository, oid, base_branch=branch), RESULT_HTTP_TOKEN="t0k3n")
    assert ended.returncode == 0, ended.stderr
    assert _git(root / "code", "rev-parse", f"origin/{branch}") == oid


class Witness:
    """Looks, at every request that git makes, at the arguments of every process there is."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.authorized = 0

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.authorized += request.headers.get("Authorization") is not None
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = process.read_bytes().replace(b"\0", b" ")
                self.arguments.append(arguments.decode(errors="replace"))
            except OSError:  # it has ended meanwhile
                continue


@pytest.fixture
def traced(tmp_path: Path) -> tuple[str, Path]:
    """A PATH whose git writes down what it and its children start, and where."""
    trace, wrappers = tmp_path / "trace", tmp_path / "wrappers"
    wrappers.mkdir()
    real = shutil.which("git")
    lines = ("#!/bin/sh", f'echo "$*" >>{trace}', f'GIT_TRACE={trace} exec {real} "$@"', "")
    (wrappers / "git").write_text("\n".join(lines))
    (wrappers / "git").chmod(0o755)
    return f"{wrappers}:{os.environ['PATH']}", trace


def clone_with_password(
    coat: Program,
    repository: Repository,
    path: str,
    witness: Witness,
) -> Finished:
    oid = repository.commit(a_dot_py="a = 1\n")
    with git_server(repository.path.parent, "ada", PASSWORD, witness) as server:
        return coat(
            *clone_flags("$(REMOTE_URL)", oid),
            REMOTE_URL=f"http://ada:{QUOTED}@{server}/repository/.git",
            PATH=path,
        )


def test_a_password_reaches_the_server_and_nothing_else(
    coat: Program, root: Path, repository: Repository, traced: tuple[str, Path]
) -> None:
    path, trace = traced
    witness = Witness()
    ended = clone_with_password(coat, repository, path, witness)
    assert ended.returncode == 0, ended.stderr
    assert witness.authorized, "the password was never needed, so this shows nothing"
    seen = {
        "arguments of processes": "\n".join(witness.arguments),
        "what git started": trace.read_text(),
        "output": ended.stdout + ended.stderr,
        **{
            str(file): file.read_text(errors="replace")
            for file in root.rglob("*")
            if file.is_file() and file.name != "marvin"
        },
    }
    assert "remote-http" in seen["what git started"]
    assert any("coat.py" in arguments for arguments in witness.arguments)
    for place, text in seen.items():
        for secret in (PASSWORD, QUOTED, "s3cr3t"):
            assert secret not in text, f"the password is in {place}"


def test_a_token_may_stand_for_the_user(coat: Program, root: Path, repository: Repository) -> None:
    oid = repository.commit()
    with git_server(repository.path.parent, "ghp-token", "", lambda _: None) as server:
        ended = coat(*clone_flags(f"http://ghp-token@{server}/repository/.git", oid))
    assert ended.returncode == 0, ended.stderr
    assert "ghp-token" not in ended.stderr + (root / "code/.git/config").read_text()


def test_a_submodule_elsewhere_does_not_get_the_password(
    coat: Program,
    repository: Repository,
    tmp_path: Path,
) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit()
    offered: list[str] = []

    def listen(request: BaseHTTPRequestHandler) -> None:
        offered.append(request.headers.get("Authorization") or "")

    with (
        git_server(tmp_path, "ada", PASSWORD, lambda _: None) as server,
        git_server(tmp_path, "eve", "other", listen) as elsewhere,
    ):
        repository.commit()
        repository.git("submodule", "--quiet", "add", "../inner", "module")
        repository.git("config", "-f", ".gitmodules", "submodule.module.url", f"http://{elsewhere}/inner")
        oid = repository.commit()
        remote = f"http://ada:{QUOTED}@{server}/repository/.git"
        ended = coat(*clone_flags(remote, oid, clone_submodules="true"))
    assert ended.returncode == 1
    assert offered
    assert not any(offered)


@pytest.mark.parametrize(
    ("remote", "reason"),
    [
        ("ext::sh -c id", "--remote-url must begin with"),
        ("/etc", "--remote-url must begin with"),
        ("-oProxyCommand=id:x", "--remote-url cannot be understood"),
        ("https://a%0Ahost=evil:b@example.org/x", "control characters"),
        ("file:///nonexistent/repository", "does not appear to be a git repository"),
        (f"http://ada:{QUOTED}@127.0.0.1:9/x", "Failed to connect"),
    ],
)
def test_a_remote_that_cannot_be_cloned_is_said_without_its_secrets(
    remote: str,
    reason: str,
    coat: Program,
) -> None:
    ended = coat(*clone_flags("$(REMOTE_URL)", "0" * 40), REMOTE_URL=remote)
    assert ended.returncode
    assert reason in ended.stderr
    assert "s3cr3t" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_password_fails_at_once_and_stays_hidden(
    coat: Program,
    repository: Repository,
) -> None:
    oid = repository.commit()
    with git_server(repository.path.parent, "ada", "right", lambda _: None) as server:
        ended = coat(*clone_flags(f"http://ada:{QUOTED}@{server}/repository/.git", oid))
    assert ended.returncode == 1
    assert "Authentication failed" in ended.stderr
    assert "remote: *** is ada:*** and not known here" in ended.stderr


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
def test_what_is_not_there_fails_with_a_reason(
    flags: dict[str, str], reason: str, coat: Program, repository: Repository
) -> None:
    ended = coat(*clone_flags(repository, repository.commit(), **flags))
    assert ended.returncode != 0
    assert reason in ended.stderr


def test_a_wrong_flag_is_named_without_its_value(coat: Program, repository: Repository) -> None:
    flags = clone_flags(repository, repository.commit())
    ended = coat(*flags, "https://ada:s3cr3t@example.org/")
    assert ended.returncode == 2
    assert "unrecognized arguments" in ended.stderr
    assert "s3cr3t" not in ended.stderr


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" >"$0.arguments"
while [ "$1" != -i ]; do shift; done
stat -c %a "$2" >"$0.mode"; cp "$2" "$0.key"
for last; do :; done
exec sh -c "$last"
"""


def test_a_key_is_a_private_file_while_it_is_needed(
    coat: Program, root: Path, repository: Repository, tmp_path: Path
) -> None:
    oid = repository.commit(a_dot_py="")
    (root / "home/runner/.ssh").mkdir(parents=True)  # the job's volume
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    ended = coat(
        *clone_flags(f"ssh://git:pa55@example.org{repository.path}", oid),
        SSH_PRIVATE_KEY="-----BEGIN KEY-----\nk3y\n-----END KEY-----",
        PATH=f"{ssh.parent}:{os.environ['PATH']}",
    )
    assert ended.returncode == 0, ended.stderr
    assert (root / "code/a.py").is_file()
    assert Path(f"{ssh}.mode").read_text() == "600\n"
    assert Path(f"{ssh}.key").read_text().endswith("k3y\n-----END KEY-----\n")
    said = Path(f"{ssh}.arguments").read_text()
    assert "git@example.org" in said
    assert "pa55" not in said + ended.stderr
    assert "k3y" not in said + ended.stderr
    assert not any((root / "home/runner/.ssh").iterdir())


def test_artifacts_are_fetched_by_http_only_and_stay_in_their_directory(
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
