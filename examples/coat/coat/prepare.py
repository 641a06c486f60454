"""coat before marvin: the marvin program, the code, the artifacts."""

from __future__ import annotations

import argparse
import os
import shutil
import zipapp
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .clone import clone
from .errors import CoatError
from .job import Job, parse_flag
from .output import Output
from .web import download_request, open_url


def prepare(options: argparse.Namespace, environ: Mapping[str, str], output: Output, program: Path) -> None:
    """Provide everything that marvin needs. `program` is coat's own path; marvin is beside it."""
    artifacts = parse_flag(options.artifacts or "[]", "--artifacts", list)
    job = Job(options, environ, output)
    place_marvin(program.with_name("marvin"), job.root / "marvin")
    commit = clone(job)
    for artifact in artifacts:
        download(artifact, job.root / "artifacts", output)
    output.write(f"{job.remote.url} is at {commit} in {job.code}")


def place_marvin(source: Path, directory: Path) -> None:
    """Put marvin into `directory` as one executable file: from an image's file, or from a source tree's directory."""
    if not source.exists():
        raise CoatError(f"there is no marvin at {source}; the image is incomplete")
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "marvin"
    if source.is_dir():
        archive(source, target)
    else:
        shutil.copyfile(source, target)
    target.chmod(0o755)


def archive(program: Path, target: Path | BinaryIO) -> None:
    """Make a program's directory one file that Python can execute (PEP 441)."""
    zipapp.create_archive(
        program,
        target,
        interpreter="/usr/bin/env python3",
        filter=lambda path: path.suffix == ".py",
    )


def download(artifact: Mapping[str, Any], directory: Path, output: Output) -> None:
    """Put the artifact's content at `directory`/{key}."""
    url, key = str(artifact.get("url", "")), str(artifact.get("key", ""))
    target = Path(os.path.normpath(directory / key))
    if directory not in target.parents:
        raise CoatError(f"the artifact key {key!r} leads out of {directory}")
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"artifact {key}"
    with open_url(download_request(url, what), what) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)
    output.write(f"artifact {key}: {target.stat().st_size} bytes")
