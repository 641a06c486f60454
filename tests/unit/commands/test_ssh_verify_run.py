"""runner.commands.ssh_verify_run: the job that tries a key, and its script, run for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.commands import plan
from runner.commands.ssh_verify_run import COMMAND, SCRIPT, TIME_LIMIT
from runner.config.types import Config
from runner.jobs import Container, JobSpec, Resources, Secret, SecretRef
from runner.payloads.ssh_verify_run import EXIT_CODES
from tests.unit.documents import changed, read, whole

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0 $(id) `id` \"'\n-----END OPENSSH PRIVATE KEY-----"

# Stands for ssh: records its arguments and what it could read, prints what the test asks for, and either ends with 255
# as ssh does or, where a repository is named, serves it as the server would.
FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > "$NOTES/arguments"
cp "$4" "$NOTES/key"
cp "$(dirname "$4")/known_hosts" "$NOTES/known_hosts"
stat -c '%a' "$4" > "$NOTES/mode"
[ -n "$SERVE" ] && exec git-upload-pack "$SERVE"
printf '%s\\n' "$SAYS" >&2
exit 255
"""


class Trial(msgspec.Struct, frozen=True):
    """One run of the script."""

    code: int
    log: str
    notes: Path
    arguments: list[str]

    def option(self, name: str) -> list[str]:
        """The values that ssh got after this option."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        return [value for flag, value in pairs if flag == name]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Trial]:
    """Run the script with that remote, login and port; by default with a fake ssh."""
    programs, notes, scratch = tmp_path / "bin", tmp_path / "notes", tmp_path / "scratch"
    for directory in (programs, notes, scratch):
        directory.mkdir()
    (programs / "ssh").write_text(FAKE_SSH)
    (programs / "ssh").chmod(0o755)

    def run(remote: str, login: str = "", port: str = "", *, real_ssh: bool = False, **variables: str) -> Trial:
        path = os.environ["PATH"] if real_ssh else f"{programs}:{os.environ['PATH']}"
        environment = {
            "PATH": f"{path}:{_git_programs()}",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "NOTES": str(notes),
            "REMOTE_URL": remote,
            "SSH_PRIVATE_KEY": KEY,
            "HOST_KEYS": "accept-new",
            "KNOWN_HOSTS": "git.example ssh-ed25519 AAAA",
            **variables,
        }
        done = subprocess.run(
            [*COMMAND, login, port], env=environment, cwd=scratch, capture_output=True, text=True, timeout=60
        )
        assert list(scratch.iterdir()) == [], "the key is left behind, or something was started"
        seen = notes / "arguments"
        arguments = seen.read_text().splitlines() if seen.exists() else []
        return Trial(done.returncode, done.stdout + done.stderr, notes, arguments)

    return run


def _git_programs() -> str:
    return subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / "code.git"
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(path.parent)}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, env=environment, capture_output=True)

    git("init", "--bare", "--initial-branch=main", str(path))
    tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # the empty one
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    git("-C", str(path), "hash-object", "-t", "tree", "-w", "/dev/null")
    commit = subprocess.run(
        ["git", "-C", str(path), *identity, "commit-tree", tree, "-m", "first"],
        check=True, env=environment, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    git("-C", str(path), "update-ref", "refs/heads/main", commit)
    return path


class TestExitCodes:
    """What the script ends with is the result that atlas gets."""

    @pytest.mark.parametrize(
        ("says", "code"),
        [
            ("git@git.example: Permission denied (publickey).", 10),
            ("Received disconnect: Too many authentication failures", 10),
            ('Load key "/tmp/id": error in libcrypto\ngit@git.example: Permission denied (publickey).', 10),
            ('Load key "/tmp/id": invalid format', 10),
            ("Host key verification failed.", 11),
            ("No ED25519 host key is known for git.example and you have requested strict checking.", 11),
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", 11),
            ("ssh: Could not resolve hostname git.example: Name or service not known", 12),
            ("ssh: connect to host git.example port 22: Connection refused", 12),
            ("ssh: connect to host git.example port 22: Connection timed out", 12),
            ("ssh: connect to host git.example port 22: Operation timed out", 12),
            ("ssh: connect to host git.example port 22: No route to host", 12),
            ("ssh: connect to host git.example port 22: Network is unreachable", 12),
            ("kex_exchange_identification: read: Connection reset by peer", 12),
            ("ERROR: Repository not found.", 13),
            (
                "remote: The project you were looking for could not be found or you don't have permission to view it.",
                13,
            ),
            ("conq: repository does not exist.", 13),
            ("fatal: 'team/code.git' does not appear to be a git repository", 13),
            ("fatal: not a git repository", 13),
            ("something that nobody foresaw", 14),
            ("", 14),
        ],
    )
    def test_what_ssh_says_decides(self, says: str, code: int, run: Callable[..., Trial]) -> None:
        trial = run("ssh://git@git.example/team/code.git", SAYS=says)
        assert (trial.code, says in trial.log) == (code, True)

    def test_the_codes_are_the_documented_ones(self) -> None:
        assert sorted(EXIT_CODES) == [0, 10, 11, 12, 13, 14]
        for code in EXIT_CODES:
            assert f"exit {code}" in SCRIPT

    def test_a_repository_that_opens_is_zero(self, repository: Path, run: Callable[..., Trial]) -> None:
        trial = run(f"file://{repository}")
        assert (trial.code, "the key opens the repository" in trial.log) == (0, True)

    def test_so_is_one_over_ssh(self, repository: Path, run: Callable[..., Trial]) -> None:
        assert run("ssh://git.example/team/code.git", SERVE=str(repository)).code == 0
        assert run("git@git.example:team/code.git", SERVE=str(repository)).code == 0

    def test_an_empty_repository_opens_as_well(self, tmp_path: Path, run: Callable[..., Trial]) -> None:
        subprocess.run(["git", "init", "--bare", tmp_path / "empty.git"], check=True, capture_output=True)
        assert run("ssh://git.example/empty.git", SERVE=str(tmp_path / "empty.git")).code == 0

    def test_a_missing_repository_is_13(self, tmp_path: Path, run: Callable[..., Trial]) -> None:
        assert run(f"file://{tmp_path}/missing.git").code == 13

    def test_a_port_that_nobody_listens_on_is_12_to_the_real_ssh(self, run: Callable[..., Trial]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening: refused, and nobody else's
            assert run("ssh://git@127.0.0.1/x", port=str(taken.getsockname()[1]), real_ssh=True).code == 12

    def test_no_git_in_the_image_is_14(self, tmp_path: Path, run: Callable[..., Trial]) -> None:
        for program in ("mktemp", "cat", "grep", "rm"):
            (tmp_path / program).symlink_to(shutil.which(program) or "")
        assert run("ssh://git.example/x", PATH=str(tmp_path)).code == 14


class TestWhatSshGets:
    def test_only_the_key_and_the_host_keys_of_the_request(self, run: Callable[..., Trial]) -> None:
        trial = run("ssh://git.example/code.git", HOST_KEYS="yes")
        assert trial.option("-F") == ["/dev/null"]
        options = trial.option("-o")
        assert {"IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(options)
        assert (trial.notes / "key").read_text() == KEY + "\n"
        assert (trial.notes / "mode").read_text() == "600\n"
        assert (trial.notes / "known_hosts").read_text() == "git.example ssh-ed25519 AAAA\n"

    def test_login_and_port_where_the_request_has_them(self, run: Callable[..., Trial]) -> None:
        trial = run("ssh://git.example/code.git", "deploy", "2222")
        assert (trial.option("-l"), trial.option("-p")) == (["deploy"], ["2222"])
        trial = run("ssh://git.example/code.git")
        assert (trial.option("-l"), trial.option("-p")) == ([], [])

    def test_the_urls_own_user_and_port_otherwise(self, run: Callable[..., Trial]) -> None:
        trial = run("ssh://git@git.example:2200/code.git")
        assert "git@git.example" in trial.arguments
        assert trial.option("-p") == ["2200"]


@pytest.mark.parametrize(
    ("remote", "login", "port"),
    [
        ("ext::sh -c touch% pwned", "", ""),
        ("-oProxyCommand=touch pwned", "", ""),
        ("--upload-pack=touch pwned", "", ""),
        ("ssh://-oProxyCommand=touch pwned/x", "", ""),
        ("ssh://127.0.0.1/$(touch pwned)", "", ""),
        ("ssh://127.0.0.1/`touch pwned`", "", ""),
        ("ssh://127.0.0.1/';touch pwned;'", "", ""),
        ("git@127.0.0.1:$(touch pwned)", "", ""),
        ("fd::7;touch pwned", "", ""),
        ("http://127.0.0.1:1/x", "", ""),
        ("ssh://127.0.0.1/x", "$(touch pwned)", ""),
        ("ssh://127.0.0.1/x", '";touch pwned;"', ""),
        ("ssh://127.0.0.1/x", "`touch pwned`", "`touch pwned`"),
        ("ssh://127.0.0.1/x", "'; touch pwned; '", "2; touch pwned"),
        ("ssh://127.0.0.1/x", "-oProxyCommand=touch pwned", "-oProxyCommand=touch pwned"),
        ("ssh://127.0.0.1/x", "git -oProxyCommand=touch${IFS}pwned", ""),
        ("ssh://127.0.0.1/x", "", "22 -oProxyCommand=touch${IFS}pwned"),
    ],
)
@pytest.mark.parametrize("real_ssh", [False, True])
def test_no_value_of_a_request_starts_anything(
    remote: str, login: str, port: str, real_ssh: bool, run: Callable[..., Trial]
) -> None:
    """Not even those that the payload's own checks refuse. `run` sees whether a file has been made."""
    trial = run(remote, login, port, real_ssh=real_ssh, KNOWN_HOSTS="$(touch pwned)")
    assert trial.code != 0


def the_job(request: Any, config: Config) -> JobSpec:
    (job,) = plan(request, config)
    assert isinstance(job, JobSpec)
    return job


class TestJob:
    def test_it_is_one_container_whose_arguments_are_the_requests(self, make_config: Callable[..., Config]) -> None:
        config = make_config(kubernetes={"imageRegistry": {"registryUrl": "registry.example"}})
        made = the_job(read("ssh_verify_run", whole("ssh_verify_run")), config)
        assert made.init is None
        assert made.main == Container(
            name="ssh-verify",
            image="registry.example/coat:latest",
            command=("/bin/sh", "-c", SCRIPT, "ssh-verify"),
            args=("git", "2222"),
            env=(
                ("REMOTE_URL", SecretRef(name="REMOTE_URL")),
                ("SSH_PRIVATE_KEY", SecretRef(name="SSH_PRIVATE_KEY")),
                ("HOST_KEYS", "accept-new"),
                ("KNOWN_HOSTS", ""),
            ),
            requests=Resources(cpu=300, memory=500),
            limits=Resources(cpu=1400, memory=4000),
        )
        assert dict(made.secrets) == {
            "REMOTE_URL": Secret("ssh://git.example/team/code.git"),
            "SSH_PRIVATE_KEY": Secret(whole("ssh_verify_run")["keys"]["ssh"]["private"]),
        }
        assert made.deadlines.run == TIME_LIMIT == 120

    @pytest.mark.parametrize(
        ("policy", "checking"), [("accept-new", "accept-new"), ("strict", "yes"), ("ignore", "no")]
    )
    def test_image_and_host_key_policy_are_in_the_config(
        self, policy: str, checking: str, make_config: Callable[..., Config]
    ) -> None:
        section = {"image": "registry.example/git:1", "hostKeys": policy, "knownHosts": "git.example ssh-ed25519 AAAA"}
        made = the_job(read("ssh_verify_run", whole("ssh_verify_run")), make_config(sshVerify=section))
        assert made.main.image == "registry.example/git:1"
        variables: Mapping[str, Any] = dict(made.main.env)
        assert (variables["HOST_KEYS"], variables["KNOWN_HOSTS"]) == (checking, "git.example ssh-ed25519 AAAA")

    def test_no_user_and_no_port_leave_both_to_the_url(self, config: Config) -> None:
        bare = changed("ssh_verify_run", "/ssh_meta", {"remote_url": "git@git.example:code"})
        assert the_job(bare, config).main.args == ("", "")

    def test_no_key_is_no_secret(self, config: Config) -> None:
        made = the_job(changed("ssh_verify_run", "/keys", {}), config)
        assert list(made.secrets) == ["REMOTE_URL"]
        assert dict(made.main.env)["SSH_PRIVATE_KEY"] == ""
