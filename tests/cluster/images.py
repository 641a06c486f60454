"""Container images without a registry: a layer of files and directories on the root file system.

The archive has the format of `docker save` (Docker Image Specification v1.2). `docker load` and
`ctr images import` both read it. The tag is a hash of the content. So a changed image has another
name, no outdated image is run, and loading an image again is not necessary.

The names begin with `localhost/`. Both runtimes treat that as a registry and don't change the name.
If such an image was not loaded, they fail at once instead of asking a public registry.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from .rootfs import GROUP, USER, Rootfs

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class File:
    """A file in an image: its content, or the path of a file on this machine to copy."""

    content: bytes | Path
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)  # user id, group id

    def read(self) -> bytes:
        """The content."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True)
class Directory:
    """A directory in an image."""

    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Image:
    """An image: `reference` is its name in a job; `write` writes its archive."""

    reference: str
    base: Rootfs = field(repr=False)
    layer: bytes = field(repr=False)
    config: bytes = field(repr=False)

    def write(self, stream: IO[bytes]) -> None:
        """Write the archive to a stream, without seeking."""
        config = f"{_digest(self.config)}.json"
        layers = [f"{self.base.digest}/layer.tar", f"{_digest(self.layer)}/layer.tar"]
        manifest = [{"Config": config, "RepoTags": [self.reference], "Layers": layers}]
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            _add(archive, config, self.config)
            with self.base.archive.open("rb") as rootfs:
                member = tarfile.TarInfo(layers[0])
                member.size = self.base.archive.stat().st_size
                archive.addfile(member, rootfs)
            _add(archive, layers[1], self.layer)
            _add(archive, "manifest.json", json.dumps(manifest).encode())


def image(
    base: Rootfs,
    name: str,
    *,
    files: Mapping[str, File] | None = None,
    directories: Mapping[str, Directory] | None = None,
    env: Mapping[str, str] | None = None,
    entrypoint: tuple[str, ...] = (),
    user: str = f"{USER}:{GROUP}",
    workdir: str = "/",
) -> Image:
    """An image of `base` with the given files and directories on top, by absolute path.

    Missing parent directories are created, owned by root with mode 0755. `user` is numeric, because
    the kubelet must verify that it isn't root (Pod Security Standards, restricted).
    """
    layer = _layer(files or {}, directories or {})
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": [_PATH, *(f"{key}={value}" for key, value in sorted((env or {}).items()))],
            "Entrypoint": list(entrypoint),
            "User": user,
            "WorkingDir": workdir,
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{base.digest}", f"sha256:{_digest(layer)}"],
        },
    }
    content = json.dumps(config, sort_keys=True).encode()
    reference = f"localhost/{name}:{_digest(content)[:12]}"
    return Image(reference=reference, base=base, layer=layer, config=content)


def sandbox(base: Rootfs) -> Image:
    """The image of a pod's sandbox: a process that holds the pod's namespaces and only sleeps."""
    return image(base, "sandbox", entrypoint=("/bin/sleep", "infinity"), user="65535:65535")


def _layer(files: Mapping[str, File], directories: Mapping[str, Directory]) -> bytes:
    """A tar archive. Equal contents give equal archives; parents come before their entries."""
    paths = [PurePosixPath(path) for path in (*files, *directories)]
    parents = {str(parent) for path in paths for parent in path.parents}
    entries: dict[str, File | Directory] = {
        **dict.fromkeys(parents - {"/"}, Directory()),
        **directories,
        **files,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, entry in sorted(entries.items()):
            _add(
                archive,
                path.strip("/"),
                entry.read() if isinstance(entry, File) else b"",
                kind=tarfile.REGTYPE if isinstance(entry, File) else tarfile.DIRTYPE,
                mode=entry.mode,
                owner=entry.owner,
            )
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile,
    name: str,
    content: bytes,
    *,
    kind: Literal[b"0", b"5"] = tarfile.REGTYPE,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, len(content)
    member.uid, member.gid = owner
    archive.addfile(member, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
