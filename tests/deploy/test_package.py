"""`pip install .`: what the package has, and that its command runs from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runner import __version__
from tests.conftest import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "requirements.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("runner", "functions"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", built, source], check=True, cwd=source)
    (made,) = built.iterdir()
    return made


def test_it_has_every_module_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for name in ("runner", "functions") for path in (ROOT / name).rglob("*.py")}
    assert modules <= names
    assert f"orchestrator-{__version__}.dist-info/licenses/LICENSE" in names
    assert not {name for name in names if name.startswith("tests/")}


def test_its_command_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([*PIP, "install", "--no-deps", "--target", tmp_path / "packages", wheel], check=True)
    command = tmp_path / "packages" / "bin" / "orchestrator"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    ran = subprocess.run(
        [sys.executable, command, "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"orchestrator {__version__}\n"
