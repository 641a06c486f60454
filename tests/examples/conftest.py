"""A served atlas, git repositories, and the programs as the local driver starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from examples.atlas.application import application
from examples.atlas.runs import Run, Runs
from examples.atlas.server import serving
from examples.atlas.tokens import Verifier
from tests.conftest import KeyPair

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUNNER_ID = "runner-1"

Finished = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Atlas:
    """A real atlas over real HTTP, and the runner's key to sign tokens with."""

    url: str
    runs: Runs
    private_key: str

    def token(self, run: str, scope: str, **claims: Any) -> str:
        """A valid token. `claims` replaces claims; None removes one."""
        now = int(time.time())
        usual = {
            "iat": now,
            "exp": now + 600,
            "scp": scope,
            "iss": RUNNER_ID,
            "sub": "job",
            "run_id": run,
            **claims,
        }
        kept = {name: value for name, value in usual.items() if value is not None}
        return jwt.encode(kept, self.private_key, algorithm="RS256")

    def request(
        self, method: str, path: str, *, token: str = "", json: Any = None, data: bytes | None = None
    ) -> requests.Response:
        """The answer to one request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, f"{self.url}{path}", headers=headers, json=json, data=data, timeout=10)

    def publisher(self, kind: str, run_id: str) -> dict[str, str]:
        """The environment of a job of that kind, with which it publishes its result."""
        path, scope, task = {
            "analysis": ("analysis", "analysis.*", "contrib.atlas.tasks.store_analysis_run_result"),
            "autofix": ("autofix", "autofix.*", "contrib.atlas.tasks.store_autofix_run_result"),
            "transformer": (
                "transformer",
                "transform.*",
                "contrib.atlas.tasks.store_transformer_run_result",
            ),
            "commit": (
                "autofix/committer",
                "autofix.*",
                "contrib.runner.tasks.store_autofix_committer_result",
            ),
        }[kind]
        return {
            "PUBLISHER": "http",
            "RESULT_HTTP_URL": f"{self.url}/api/runner/{path}/results",
            "RESULT_HTTP_TOKEN": self.token(run_id, scope),
            "RESULT_RMQ_TASK": task,
        }

    @property
    def storage(self) -> tuple[str, ...]:
        """The flags that name atlas as the snippet storage."""
        bucket = f"{self.url}/snippets"
        return ("--snippet-storage-type", "http", "--snippet-storage-bucket", bucket)

    def result(self, run_id: str) -> dict[str, Any]:
        """The kwargs of the only result of a run."""
        run = self.run(run_id)
        assert len(run.results) == 1
        return run.results[0].kwargs

    def run(self, run_id: str) -> Run:
        run = self.runs.get(run_id)
        assert run is not None, f"no result for {run_id}: {self.runs.deliveries()}"
        return run


@pytest.fixture
def atlas(runner_keys: KeyPair) -> Iterator[Atlas]:
    runs = Runs()
    with serving(application(runs, Verifier(runner_keys.public, RUNNER_ID))) as url:
        yield Atlas(url, runs, runner_keys.private)


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory that a program uses as /."""
    path = tmp_path / "root"
    path.mkdir()
    return path


Program = Callable[..., Finished]


@pytest.fixture
def coat(root: Path) -> Program:
    return _program(root, "coat")


@pytest.fixture
def marvin(root: Path) -> Program:
    return _program(root, "marvin")


def _program(root: Path, name: str) -> Program:
    """Starts it as the local driver does: an empty environment, and ORCHESTRATOR_ROOT."""

    def start(*flags: str, **environment: str) -> Finished:
        home = root / "home/runner"
        home.mkdir(parents=True, exist_ok=True)
        bare = {"PATH": os.environ["PATH"], "ORCHESTRATOR_ROOT": str(root), "HOME": str(home)}
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *flags],
            env={**bare, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return start


class Repository:
    """A git repository to clone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        allowed = ("-c", "protocol.file.allow=always")
        ended = subprocess.run(
            ["git", "-C", str(self.path), *identity, *allowed, *arguments],
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.strip()

    def commit(self, **files: str) -> str:
        """Commit files, given as name=content; `__` is a slash and `_dot_` a dot. Gives the commit's id."""
        for name, content in files.items():
            path = self.path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def clone_flags(repository: Repository | str, oid: str, **more: str) -> tuple[str, ...]:
    """The flags of coat before an autofix; `more` replaces or adds flags, with _ for -."""
    flags = {
        "run_id": "r1",
        "check_seq": "1",
        "remote_url": repository if isinstance(repository, str) else repository.url,
        "base_branch": "main",
        "checkout_oid": oid,
        "clone_submodules": "false",
        "decrypt_remote_url": "false",
        **more,
    }
    named = ((f"--{name.replace('_', '-')}", value) for name, value in flags.items())
    return tuple(part for pair in named for part in pair)
