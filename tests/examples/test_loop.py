"""The whole loop on this host: atlas, the Orchestrator, coat, marvin, and back to atlas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples import sample
from examples.demo import DemoError, Progress, perform
from examples.installation import Installation, InstallationError, installed

HERE = Path(__file__).resolve().parents[2]
AUTHOR = {"name": "Grace", "email": "grace@example.org"}
COMMIT = {"title": "Fix it", "message": "", "destination_branch": "fixes"}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> sample.Repository:
    return sample.make_repository(tmp_path_factory.mktemp("sample") / "repository")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("up")) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def analysis(installation: Installation, repository: sample.Repository) -> Document:
    return perform(installation, Progress(), "analysis", sample.analysis(repository))


@pytest.fixture(scope="module")
def autofix(
    installation: Installation,
    repository: sample.Repository,
    analysis: Document,
) -> Document:
    request = sample.autofix(repository, analysis["issues"])
    return perform(installation, Progress(), "autofix", request)


def test_an_analysis_finds_what_is_wrong_with_the_sample(analysis: Document) -> None:
    codes = {issue["issue_code"] for issue in analysis["issues"]}
    assert len(codes) >= 5
    assert "BAN-B602" not in codes  # marked with skipcq
    assert analysis["file_meta"]["added"]


def test_an_autofix_fixes_all_that_has_a_fix(analysis: Document, autofix: Document) -> None:
    fixable = [issue for issue in analysis["issues"] if issue["meta"]["fix"] != "none"]
    assert len(autofix["issues_fixed"]) == len(fixable) > 5
    assert autofix["errors"] == []


def test_a_commit_pushes_what_the_autofix_has_stored(
    installation: Installation,
    repository: sample.Repository,
    autofix: Document,
) -> None:
    request = {
        "run_id": "commit-1",
        "run_serial": "0",
        "keys": {},
        "vcs_meta": sample.autofix(repository, [])["vcs_meta"],
        "artifacts": {
            "key": sample.autofix(repository, [])["run_id"],
            "patch_ids": {patch["path"]: [patch["id"]] for patch in autofix["patches"]},
        },
        "patch_meta": json.dumps({"commit": COMMIT, "author": AUTHOR}),
    }
    deliver(installation, "commit", request)
    command = ["git", "-C", str(repository.path), "diff", "--name-only", "main", "fixes"]
    changed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert changed == autofix["changed_files"]


def test_a_transformer_formats(installation: Installation, repository: sample.Repository) -> None:
    request = {
        "run_id": "transformer-1",
        "run_serial": "0",
        "vcs_meta": {
            **sample.autofix(repository, [])["vcs_meta"],
            "base_oid": repository.base_oid,
        },
        "transformer": {
            "command": "",
            "tools": ["isort", "black"],
            "meta": {"version": "dev", "cpu_limit": "1000", "memory_limit": "512"},
        },
        "patch_commit": {"commit": COMMIT, "author": AUTHOR},
    }
    report = deliver(installation, "transformer", request)["report"]
    assert "stock/prices.py" in report["changed_files"]


def test_a_clone_that_fails_is_told_by_the_orchestrator(
    installation: Installation,
    repository: sample.Repository,
) -> None:
    request = {**sample.analysis(repository), "run_id": "broken-1"}
    request["vcs_meta"]["checkout_oid"] = "f" * 40
    with pytest.raises(DemoError, match=r"could not be cloned(.|\n)*no reference leads to it"):
        perform(installation, Progress(), "analysis", request)


def deliver(installation: Installation, kind: str, request: Document) -> Document:
    """Send a request. Gives the kwargs of its one result, which must say that all went well."""
    perform(installation, Progress(), kind, request)
    run = installation.runs.get(request["run_id"])
    assert run is not None
    return run.results[0].kwargs


def test_an_orchestrator_that_cannot_start_says_why(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # too long for a socket's path
    deep.mkdir()
    with (
        pytest.raises(InstallationError, match=r"sidecar\.socket"),
        installed(deep) as installation,
    ):
        installation.wait_until_ready()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the demo makes its own. pytest's are too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="demo-") as path:
        yield Path(path)


def demo(directory: Path, *flags: str, path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", *flags],
        cwd=HERE,
        env={**os.environ, "TMPDIR": str(directory), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_running(directory: Path) -> list[str]:
    """Processes that have the demo's directory in their arguments or variables."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if str(directory).encode() in told:
            found.append(told.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_the_demo_runs_from_nothing_and_leaves_nothing_running(directory: Path) -> None:
    process = demo(directory)
    output, _ = process.communicate(timeout=110)
    assert process.returncode == 0, output
    assert "stock/ledger.py:4:8        PYL-W0611  `os` imported but unused" in output
    assert "\n  -import os\n" in output
    assert "\x1b" not in output  # nobody looks at it in colour
    (report,) = directory.glob("orchestrator-demo-*/report.html")
    assert "PYL-W0611" in report.read_text()
    assert left_running(directory) == []


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("started atlas", signal.SIGTERM, 130),
        ("Everything keeps running", signal.SIGINT, 0),
    ],
)
def test_the_demo_can_be_interrupted_at_any_time(
    moment: str,
    number: int,
    code: int,
    directory: Path,
) -> None:
    process = demo(directory, "--keep")
    output = interrupted(process, moment, number)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert left_running(directory) == []


SLOW_GIT = """#!/bin/sh
case "$*" in *fetch*) exec sleep 300;; esac
PATH=${PATH#*:}
exec git "$@"
"""


def test_an_interrupted_demo_ends_the_job_that_runs(directory: Path) -> None:
    git = directory / "git"
    git.write_text(SLOW_GIT)
    git.chmod(0o755)
    process = demo(directory, path=f"{directory}:{os.environ['PATH']}")
    output = interrupted(process, "analysis: accepted", signal.SIGINT)
    assert process.returncode == 130, output
    end = time.monotonic() + 20  # the job's keeper has its grace time
    while (left := left_running(directory)) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []


def interrupted(process: subprocess.Popen[str], moment: str, number: int) -> str:
    """All its output, after a signal at the line that has `moment` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if moment in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=110)
    return "".join(lines) + rest
