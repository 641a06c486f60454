"""coat and marvin run on a Python without packages: from their directories, and as one file each in an image."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from examples.coat.coat.prepare import archive
from tests.examples.conftest import EXAMPLES, Repository, clone_flags

PROGRAMS = ("coat", "marvin")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The directory /app of an image, made by the commands in examples/README.md."""
    path = tmp_path / "app"
    path.mkdir()
    for name in PROGRAMS:
        packing = [sys.executable, "-m", "zipapp", str(EXAMPLES / name), "-p", "/usr/bin/env python3"]
        subprocess.run([*packing, "-o", str(path / name)], check=True)
    return path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_directory_runs_without_packages(name: str) -> None:
    """-I ignores variables and the user's packages, -S ignores installed packages."""
    command = [sys.executable, "-I", "-S", str(EXAMPLES / name), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(f"usage: {name} "), ended.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_archive_runs_without_packages(name: str, app: Path) -> None:
    command = [sys.executable, "-I", "-S", str(app / name), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(f"usage: {name} "), ended.stderr


def test_coat_of_an_image_copies_the_marvin_beside_it(app: Path, root: Path, repository: Repository) -> None:
    flags = clone_flags(repository, repository.commit())
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [app / "coat", *flags],
        env={**environment, "ORCHESTRATOR_ROOT": str(root)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    copied = root / "marvin/marvin"
    assert copied.read_bytes() == (app / "marvin").read_bytes()
    assert os.access(copied, os.X_OK)


def test_coat_without_marvin_fails_with_a_reason(app: Path, root: Path, repository: Repository) -> None:
    (app / "marvin").unlink()
    ended = subprocess.run(
        [sys.executable, app / "coat", *clone_flags(repository, repository.commit())],
        env={"PATH": os.environ["PATH"], "ORCHESTRATOR_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"there is no marvin at {app / 'marvin'}" in ended.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_archive_contains_the_sources_and_nothing_else(name: str, tmp_path: Path) -> None:
    archive(EXAMPLES / name, tmp_path / name)
    with zipfile.ZipFile(tmp_path / name) as made:
        names = made.namelist()
    sources = [str(path.relative_to(EXAMPLES / name)) for path in (EXAMPLES / name).rglob("*.py")]
    assert sorted(names) == sorted(sources)
