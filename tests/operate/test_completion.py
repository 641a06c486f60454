"""Shell completion: click's own, by the protocol that its scripts speak. Bash runs the script itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

COMMAND = f"""#!/bin/sh
PYTHONPATH={ROOT} exec {sys.executable} -c 'from runner.cli import main; main(prog_name="orchestrator")' "$@"
"""
"""As pip installs it from pyproject.toml."""


@pytest.fixture
def orchestrator(tmp_path: Path) -> Path:
    path = tmp_path / "orchestrator"
    path.write_text(COMMAND)
    path.chmod(0o755)
    return path


def run(program: str | Path, *arguments: str, **environment: str) -> str:
    known = {**os.environ, **environment}
    return subprocess.run(
        [program, *arguments], env=known, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def words(shell: str, text: str) -> dict[str, str]:
    """The variables by which a shell's script asks for the completions of a command line."""
    parts = text.split(" ")
    number = {"COMP_CWORD": parts[-1] if shell == "fish" else str(len(parts) - 1)}
    return {"_ORCHESTRATOR_COMPLETE": f"{shell}_complete", "COMP_WORDS": text, **number}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("orchestrator jobs re", "resend", "list"),
        ("orchestrator jobs list --state fa", "failed", "waiting"),
        ("orchestrator check", "check-config", "jobs"),
    ],
)
def test_what_is_completed(orchestrator: Path, shell: str, text: str, wanted: str, unwanted: str) -> None:
    found = run(orchestrator, **words(shell, text))
    assert wanted in found
    assert unwanted not in found.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_asks_this_command(orchestrator: Path, shell: str) -> None:
    script = run(orchestrator, _ORCHESTRATOR_COMPLETE=f"{shell}_source")
    assert f"_ORCHESTRATOR_COMPLETE={shell}_complete" in script


def test_bash_completes_with_the_script(orchestrator: Path) -> None:
    """As the README says it is installed: `eval` of the script, then a completion of the words so far."""
    line = 'COMP_WORDS=(orchestrator jobs res); COMP_CWORD=2; _orchestrator_completion orchestrator; echo "$COMPREPLY"'
    install = 'eval "$(_ORCHESTRATOR_COMPLETE=bash_source orchestrator)"'
    assert install in (ROOT / "README.md").read_text()
    path = f"{orchestrator.parent}:{os.environ['PATH']}"
    assert run("bash", "--norc", "-c", f"{install}; {line}", PATH=path) == "resend\n"


def test_the_version(orchestrator: Path) -> None:
    assert run(orchestrator, "--version").startswith("orchestrator ")
