"""No secret of coat leaks: not to other servers, processes, files or the output."""

from __future__ import annotations

import json
import os
import re
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, Finished, Program, Repository, clone_flags
from tests.examples.git_server import git_server

PASSWORD = "s3cr3t/pass word"
QUOTED = "s3cr3t%2Fpass%20word"


class Witness:
    """Records the arguments of all processes at every request of git."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.authorized = 0

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.authorized += request.headers.get("Authorization") is not None
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = process.read_bytes().replace(b"\0", b" ")
                self.arguments.append(arguments.decode(errors="replace"))
            except OSError:  # the process has ended
                continue


@pytest.fixture
def traced(tmp_path: Path) -> tuple[str, Path]:
    """A PATH with a git that traces what it and its children start, and the file of the trace."""
    trace, wrappers = tmp_path / "trace", tmp_path / "wrappers"
    wrappers.mkdir()
    real = shutil.which("git")
    lines = ("#!/bin/sh", f'echo "$*" >>{trace}', f'GIT_TRACE={trace} exec {real} "$@"', "")
    (wrappers / "git").write_text("\n".join(lines))
    (wrappers / "git").chmod(0o755)
    return f"{wrappers}:{os.environ['PATH']}", trace


def clone_with_password(coat: Program, repository: Repository, path: str, witness: Witness) -> Finished:
    oid = repository.commit(a_dot_py="a = 1\n")
    with git_server(repository.path.parent, "ada", PASSWORD, witness) as server:
        return coat(
            *clone_flags("$(REMOTE_URL)", oid),
            REMOTE_URL=f"http://ada:{QUOTED}@{server}/repository/.git",
            PATH=path,
        )


def test_a_password_reaches_the_server_and_no_other_place(
    coat: Program, root: Path, repository: Repository, traced: tuple[str, Path]
) -> None:
    path, trace = traced
    witness = Witness()
    ended = clone_with_password(coat, repository, path, witness)
    assert ended.returncode == 0, ended.stderr
    assert witness.authorized, "the server never got the password, so this test proves nothing"
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
    assert any(str(EXAMPLES / "coat") in arguments for arguments in witness.arguments)
    for place, text in seen.items():
        for secret in (PASSWORD, QUOTED, "s3cr3t"):
            assert secret not in text, f"the password is in {place}"


def test_a_token_may_be_the_user_name(coat: Program, root: Path, repository: Repository) -> None:
    oid = repository.commit()
    with git_server(repository.path.parent, "ghp-token", "", lambda _: None) as server:
        ended = coat(*clone_flags(f"http://ghp-token@{server}/repository/.git", oid))
    assert ended.returncode == 0, ended.stderr
    assert "ghp-token" not in ended.stderr + (root / "code/.git/config").read_text()


def test_a_submodule_on_another_server_does_not_get_the_password(
    coat: Program, repository: Repository, tmp_path: Path
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
def test_the_reason_for_a_failed_clone_contains_no_secret(remote: str, reason: str, coat: Program) -> None:
    ended = coat(*clone_flags("$(REMOTE_URL)", "0" * 40), REMOTE_URL=remote)
    assert ended.returncode
    assert reason in ended.stderr
    assert "s3cr3t" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_password_fails_and_is_masked(coat: Program, repository: Repository) -> None:
    oid = repository.commit()
    with git_server(repository.path.parent, "ada", "right", lambda _: None) as server:
        ended = coat(*clone_flags(f"http://ada:{QUOTED}@{server}/repository/.git", oid))
    assert ended.returncode == 1
    assert "Authentication failed" in ended.stderr
    assert "remote: *** is ada:*** and not known here" in ended.stderr


def test_a_wrong_flag_is_reported_without_its_value(coat: Program, repository: Repository) -> None:
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


def test_a_key_is_a_private_file_until_the_clone_is_done(
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
    printed = Path(f"{ssh}.arguments").read_text()
    assert "git@example.org" in printed
    assert "pa55" not in printed + ended.stderr
    assert "k3y" not in printed + ended.stderr
    assert not any((root / "home/runner/.ssh").iterdir())


def test_the_query_of_the_remote_and_of_an_artifact_is_not_printed(
    coat: Program, repository: Repository, root: Path
) -> None:
    oid = repository.commit()
    seen: list[str] = []
    with git_server(repository.path.parent, "ada", PASSWORD, lambda it: seen.append(it.headers["Authorization"])) as at:
        remote = f"http://ada:{QUOTED}@{at}/repository/.git"
        artifacts = [{"key": "head", "url": f"http://ada:{QUOTED}@{at}/repository/.git/HEAD?sig=5igned"}]
        ended = coat(*clone_flags(remote, oid), "--artifacts", json.dumps(artifacts))
        missing = [{"key": "none", "url": f"http://ada:{QUOTED}@{at}/none?sig=5igned"}]
        failed = coat(*clone_flags(remote, oid), "--artifacts", json.dumps(missing))
        asked = coat(*clone_flags(f"{remote}?token=5igned", oid))
    assert ended.returncode == 0, ended.stderr
    assert (root / "artifacts/head").read_text().startswith("ref:")
    assert failed.returncode == asked.returncode == 1
    assert "artifact none" in failed.stderr
    assert "?***" in asked.stderr
    for printed in (ended, failed, asked):
        assert not re.search("5igned|s3cr3t", printed.stdout + printed.stderr)


def test_only_commands_that_talk_to_a_server_get_the_credentials(
    coat: Program, repository: Repository, tmp_path: Path
) -> None:
    seen, wrappers = tmp_path / "seen", tmp_path / "wrappers"
    wrappers.mkdir()
    real = shutil.which("git")
    said = f'echo "$3 ${{COAT_PASSWORD:+has it}} $SENTRY_DSN" >>{seen}'
    (wrappers / "git").write_text(f'#!/bin/sh\n{said}\nexec {real} "$@"\n')
    (wrappers / "git").chmod(0o755)
    oid = repository.commit()
    with git_server(repository.path.parent, "ada", PASSWORD, lambda _: None) as server:
        remote = f"http://ada:{QUOTED}@{server}/repository/.git"
        path = f"{wrappers}:{os.environ['PATH']}"
        ended = coat(*clone_flags(remote, oid, clone_submodules="true"), PATH=path, SENTRY_DSN="https://k@s/1")
    assert ended.returncode == 0, ended.stderr
    commands = {line.split()[0]: "has it" in line for line in seen.read_text().splitlines()}
    assert {name for name, has in commands.items() if has} <= {"fetch", "submodule"}
    assert commands["fetch"]
    assert {"init", "config", "checkout"} <= {name for name, has in commands.items() if not has}
    assert "https://k@s" not in seen.read_text()
