"""The root file system of every image: a small Debian, made from Debian's packages.

mmdebstrap writes it as a tar archive. The archive is the lowest layer of the images, and is cached.
It contains what an analysis job needs (Python with its standard library, git, ssh) and a user
1000:3000, because ssh refuses to run under a user id without a name.
"""

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from .machine.places import Places
from .machine.programs import run
from .progress import step

PACKAGES = ("ca-certificates", "git", "libpython3-stdlib", "openssh-client", "python3-minimal")
USER, GROUP = 1000, 3000
HOME = "/home/worker"

_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_ADD_USER = f"""
echo "worker:x:{USER}:{GROUP}::{HOME}:/bin/sh" >>"$1/etc/passwd"
echo "worker:x:{GROUP}:" >>"$1/etc/group"
mkdir -p "$1{HOME}"
chown {USER}:{GROUP} "$1{HOME}"
"""


@dataclass(frozen=True)
class Rootfs:
    """An uncompressed tar archive and its SHA-256, which the image format calls the diff id."""

    archive: Path
    digest: str


def rootfs(places: Places) -> Rootfs:
    """The root file system. It is made if the cache has none for the same options.

    Raises ClusterError if mmdebstrap fails.
    """
    options = (
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED),
        f"--customize-hook={_ADD_USER}",
        platform.freedesktop_os_release()["VERSION_CODENAME"],
    )
    recipe = json.dumps([options, platform.machine()])
    name = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    archive = places.cache / "rootfs" / f"{name}.tar"
    digest = archive.with_suffix(".sha256")
    if not digest.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with step("making the root file system of the images (half a minute)"):
            new = archive.with_suffix(".new.tar")
            run("mmdebstrap", *options, new)
            new.replace(archive)
            with archive.open("rb") as file:
                digest.write_text(hashlib.file_digest(file, "sha256").hexdigest())
    return Rootfs(archive=archive, digest=digest.read_text())
