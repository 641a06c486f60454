"""The whole loop on this host: atlas sends, the Orchestrator starts jobs, coat and marvin run, atlas gets results."""

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
from examples.installation import Installation, InstallationError, running_installation

HERE = Path(__file__).resolve().parents[2]
AUTHOR = {"name": "Grace", "email": "grace@example.org"}
COMMIT = {"title": "Fix it", "message": "", "destination_branch": "fixes"}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> sample.Repository:
    return sample.make_repository(tmp_path_factory.mktemp("sample") / "repository")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("up")) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def analysis(installation: Installation, repository: sample.Repository) -> Document:
    return perform(installation, Progress(), "analysis", sample.analysis(repository))


@pytest.fixture(scope="module")
def autofix(installation: Installation, repository: sample.Repository, analysis: Document) -> Document:
    request = sample.autofix(repository, analysis["issues"])
    return perform(installation, Progress(), "autofix", request)


def test_an_analysis_finds_the_issues_of_the_sample(analysis: Document) -> None:
    codes = {issue["issue_code"] for issue in analysis["issues"]}
    assert len(codes) >= 5
    assert "BAN-B602" not in codes  # marked with skipcq
    assert analysis["file_meta"]["added"]


def test_an_autofix_fixes_every_issue_that_has_a_fix(analysis: Document, autofix: Document) -> None:
    fixable = [issue for issue in analysis["issues"] if issue["meta"]["fix"] != "none"]
    assert len(autofix["issues_fixed"]) == len(fixable) > 5
    assert autofix["errors"] == []


def test_a_commit_pushes_the_stored_patches(
    installation: Installation, repository: sample.Repository, autofix: Document
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


def test_the_orchestrator_publishes_a_failed_clone(installation: Installation, repository: sample.Repository) -> None:
    request = {**sample.analysis(repository), "run_id": "broken-1"}
    request["vcs_meta"]["checkout_oid"] = "f" * 40
    with pytest.raises(DemoError, match=r"could not be cloned(.|\n)*no reference leads to it"):
        perform(installation, Progress(), "analysis", request)


def deliver(installation: Installation, kind: str, request: Document) -> Document:
    """Send a request. Gives the kwargs of its only result, which must be a success."""
    perform(installation, Progress(), kind, request)
    run = installation.runs.get(request["run_id"])
    assert run is not None
    return run.results[0].kwargs


def test_an_orchestrator_that_cannot_start_gives_the_reason(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # too long for the path of a socket
    deep.mkdir()
    with (
        pytest.raises(InstallationError, match=r"sidecar\.socket"),
        running_installation(deep) as installation,
    ):
        installation.wait_until_ready()


@pytest.fixture
def directory() -> Iterator[Path]:
    """The parent of the demo's directory. The paths of pytest's directories are too long for a socket."""
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
    """Processes with the demo's directory in their arguments or variables."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # the process has ended
            continue
        if str(directory).encode() in text:
            found.append(text.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_the_demo_runs_from_nothing_and_leaves_nothing_running(directory: Path) -> None:
    process = demo(directory)
    output, _ = process.communicate(timeout=110)
    assert process.returncode == 0, output
    assert "stock/ledger.py:4:8        PYL-W0611  `os` imported but unused" in output
    assert "\n  -import os\n" in output
    assert "\x1b" not in output  # the output is not a terminal
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
def test_the_demo_can_be_interrupted_at_any_time(moment: str, number: int, code: int, directory: Path) -> None:
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
    end = time.monotonic() + 20  # the process that watches the job has a grace period
    while (left := left_running(directory)) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []


def interrupted(process: subprocess.Popen[str], moment: str, number: int) -> str:
    """The whole output of a process that got a signal at the first line with `moment` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if moment in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=110)
    return "".join(lines) + rest
