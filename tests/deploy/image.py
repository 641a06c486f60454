"""The image, built from deploy/Dockerfile itself by the dockerd that the test cluster runs for Nomad.

Its base stands in for `python:3.13-slim`, since no image registry can be reached: the small Debian of all test images
with pip, this machine's C++ library, and the wheels of requirements.txt, so that the build needs no network. The
context is what Dockerfile.dockerignore lets through.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pip

from tests import cluster
from tests.cluster.lifecycle import Stack, places
from tests.conftest import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def built(tree: Path = ROOT) -> str:
    """Build a tree's image and load it for pods, unless that was done for the same content. Returns its reference."""
    base = _base(tree)
    cluster.load_into_nomad(base)
    context = _context(tree)
    content = hashlib.sha256(base.reference.encode() + context).hexdigest()[:12]
    reference = f"localhost/orchestrator:{content}"
    if not _exists(reference):
        arguments = ("--network=none", f"--build-arg=BASE={base.reference}", f"--tag={reference}")
        docker("build", *arguments, "--file=deploy/Dockerfile", "-", stdin=context)
    _load_into_kubernetes(reference)
    return reference


def inspect(reference: str) -> dict[str, Any]:
    """The image's own configuration: Env, Labels, User, Entrypoint."""
    (found,) = json.loads(docker("image", "inspect", reference))
    configuration: dict[str, Any] = found["Config"]
    return configuration


def docker(*arguments: str, stdin: bytes = b"") -> bytes:
    """Run docker. Fails with the end of its output."""
    command = ["/usr/bin/docker", "--host", Stack(places()).docker.address, *arguments]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}  # BuildKit is not part of Debian's package
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-4000:]
    return done.stdout


def _base(tree: Path) -> cluster.Image:
    packages = Path(pip.__file__).parent
    files = {
        f"/usr/lib/python3/dist-packages/pip/{path.relative_to(packages)}": cluster.File(path)
        for path in sorted(packages.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    files |= {
        f"/wheels/{wheel.name}": cluster.File(wheel) for wheel in sorted(_wheels(tree / "requirements.txt").iterdir())
    }
    libraries = Path(f"/usr/lib/{platform.machine()}-linux-gnu")
    files |= {f"{libraries}/{name}": cluster.File(libraries / name) for name in ("libstdc++.so.6", "libgcc_s.so.1")}
    files["/etc/pip.conf"] = cluster.File(b"[global]\nno-index = true\nfind-links = /wheels\n")
    return cluster.image("python-slim", files=files, user="0:0")


def _wheels(requirements: Path) -> Path:
    """A directory with the wheels of a requirements.txt. They are downloaded once for the same requirements."""
    directory = places().cache / "wheels" / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    if not directory.exists():
        directory.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as new:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", new, "--requirement", str(requirements)], check=True)
            Path(new).rename(directory)
            Path(new).mkdir()  # for the context manager to remove
    return directory


def _context(tree: Path) -> bytes:
    """A tar archive of the same bytes for the same tree."""
    names = ["deploy/Dockerfile", "requirements.txt", "gunicorn.conf.py", "LICENSE"]
    names += [
        str(path.relative_to(tree))
        for name in ("runner", "functions")
        for path in (tree / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted(names):
            member = tarfile.TarInfo(name)
            content = (tree / name).read_bytes()
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _exists(reference: str) -> bool:
    return bool(docker("image", "ls", "--quiet", reference).strip())


def _load_into_kubernetes(reference: str) -> None:
    ctr = ("/usr/bin/ctr", "--address", Stack(places()).containerd.socket, "--namespace", "k8s.io", "images")
    listed = subprocess.run([*ctr, "ls", "-q"], check=True, capture_output=True, text=True).stdout
    if reference not in listed.split():
        subprocess.run([*ctr, "import", "-"], check=True, input=docker("save", reference), capture_output=True)
