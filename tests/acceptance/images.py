"""The job images: a small Debian with the example programs. Both clusters know them by the names that requests use."""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import replace
from importlib.metadata import files
from pathlib import Path

from examples.coat.coat.prepare import archive
from tests import cluster
from tests.conftest import ROOT

PATH = "acceptance"
"""The path in the registry, before the images' names."""

EXAMPLES = ROOT / "examples"
PACKAGES = "/usr/lib/python3/dist-packages"

_PROGRAM = 0o755
_TOOLBOX = cluster.Directory(mode=0o755, owner=(1000, 3000))


def build() -> dict[str, cluster.Image]:
    """The three images by `path/name:tag`."""
    clone = {
        "/app/coat": cluster.File(_archive("coat"), mode=_PROGRAM),
        "/app/marvin": cluster.File(_archive("marvin"), mode=_PROGRAM),
    }
    ruff = {"/usr/local/bin/ruff": cluster.File(_ruff(), mode=_PROGRAM)}
    analyse = {**ruff, **_zstd(), "/toolbox/README": cluster.File(b"The analyzer lives here.\n")}
    contents = {"coat:latest": clone, "marvin-python:dev": analyse, "bumblebee:dev": analyse}
    return {
        f"{PATH}/{name}": cluster.image(name.partition(":")[0], files=files, directories={"/toolbox": _TOOLBOX})
        for name, files in contents.items()
    }


def load(images: dict[str, cluster.Image], registry: str) -> None:
    """Load the images into both runtimes, with the registry in their names."""
    for name, image in images.items():
        renamed = replace(image, reference=f"{registry}/{name}")
        cluster.load_into_kubernetes(renamed)
        cluster.load_into_nomad(renamed)


def _archive(name: str) -> bytes:
    """The program as one executable file."""
    content = io.BytesIO()
    archive(EXAMPLES / name, content)
    return content.getvalue()


def _ruff() -> Path:
    found = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert found, "ruff isn't installed, but the analyzer needs it; run the tests by `make test`"
    return Path(found)


def _zstd() -> dict[str, cluster.File]:
    """The library that decompresses an autofix's configuration, copied from the tests' virtual environment."""
    return {
        f"{PACKAGES}/{each}": cluster.File(Path(str(each.locate())))
        for each in files("backports.zstd") or ()
        if each.suffix in (".py", ".so") and ".." not in each.parts
    }
