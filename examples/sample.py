"""The demo's input: a real git repository, and the sample requests with its commits in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "repository"
FIRST = ("README.md", "stock/__init__.py", "stock/ledger.py")
"""The files of the first commit; the second adds the rest."""

BRANCH = "main"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}

Document = dict[str, Any]


class Repository(msgspec.Struct, frozen=True):
    """Its path and its two commits."""

    path: Path
    base_oid: str
    checkout_oid: str

    @property
    def url(self) -> str:
        """The URL to clone."""
        return self.path.as_uri()


def make_repository(path: Path) -> Repository:
    """Make the sample project a git repository."""
    path.mkdir(parents=True)
    _git(path, "init", "--quiet", f"--initial-branch={BRANCH}")
    base = _commit(path, FIRST, "Keep a ledger")
    rest = (file for file in SOURCE.rglob("*") if file.is_file() and file.name != "ruff.toml")
    names = [str(file.relative_to(SOURCE)) for file in rest if "__pycache__" not in file.parts]
    return Repository(path, base, _commit(path, names, "Report, price and print"))


def _commit(path: Path, names: Sequence[str], title: str) -> str:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SOURCE / name, path / name)
    _git(path, "add", "--all")
    _git(path, "commit", "--quiet", f"--message={title}")
    return _git(path, "rev-parse", "HEAD")


def _git(path: Path, *arguments: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ended = subprocess.run(
        ["git", "-C", str(path), *arguments],
        env={**inherited, **_IDENTITY},
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.strip()


def analysis(repository: Repository) -> Document:
    """The sample analysis request, for that repository."""
    request = _load("analysis.json")
    request["vcs_meta"] |= {**_vcs(repository), "base_oid": repository.base_oid}
    return request


def autofix(repository: Repository, issues: Sequence[Document]) -> Document:
    """The sample autofix request, for the issues that have a fix."""
    request = _load("autofix.json")
    request["vcs_meta"] |= _vcs(repository)
    occurrences: dict[str, list[Document]] = {}
    for issue in issues:
        if issue["meta"]["fix"] != "none":
            occurrences.setdefault(issue["issue_code"], []).append(issue["location"])
    request["autofixer"]["autofixes"] = [
        {"issue_code": code, "occurrences": found} for code, found in occurrences.items()
    ]
    return request


def _vcs(repository: Repository) -> Document:
    return {
        "remote_url": repository.url,
        "base_branch": BRANCH,
        "checkout_oid": repository.checkout_oid,
    }


def _load(name: str) -> Document:
    request: Document = json.loads((HERE / name).read_text())
    return request
