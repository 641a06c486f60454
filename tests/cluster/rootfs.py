"""The root file system below every image: a small Debian, from Debian's own packages.

mmdebstrap makes a tar archive, which is both the lowest layer of an image and a cache entry. It
contains what a code-checking job needs (Python with its standard library, git, ssh) and a user
1000:3000, since ssh refuses to run for a user id without an entry in /etc/passwd.
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

_OMITTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_ADD_USER = f"""
echo "worker:x:{USER}:{GROUP}::{HOME}:/bin/sh" >>"$1/etc/passwd"
echo "worker:x:{GROUP}:" >>"$1/etc/group"
mkdir -p "$1{HOME}"
chown {USER}:{GROUP} "$1{HOME}"
"""


@dataclass(frozen=True)
class Rootfs:
    """An uncompressed tar archive and its SHA-256, which the image format calls its diff id."""

    archive: Path
    digest: str


def rootfs(places: Places) -> Rootfs:
    """The root file system. Makes it unless the cache has one for the same options.

    Raises ClusterError when mmdebstrap fails.
    """
    options = (
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={path}" for path in _OMITTED),
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
