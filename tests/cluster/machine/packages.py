"""The Debian packages that the cluster needs, besides the programs that it builds."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.progress import step

from .programs import run

PACKAGES = {  # package -> one of its files that the cluster uses
    "containerd": Path("/usr/bin/containerd"),
    "containernetworking-plugins": Path("/usr/lib/cni/ptp"),
    "docker.io": Path("/usr/sbin/dockerd"),
    "etcd-server": Path("/usr/bin/etcd"),
    "iproute2": Path("/usr/bin/ip"),
    "mmdebstrap": Path("/usr/bin/mmdebstrap"),
    "openssl": Path("/usr/bin/openssl"),
    "runc": Path("/usr/sbin/runc"),
    "util-linux": Path("/usr/bin/nsenter"),
}

_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_SERVICES = "#!/bin/sh\nexit 101\n"  # "action forbidden by policy", invoke-rc.d(8)


def absent() -> list[str]:
    """The packages that aren't installed."""
    return sorted(name for name, file in PACKAGES.items() if not file.exists())


def install() -> None:
    """Install the absent packages without starting their services.

    Raises ClusterError when apt-get fails or isn't there.
    """
    names = absent()
    if not names:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"{', '.join(names)} must be installed, but apt-get isn't there; install them")
    apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {', '.join(names)}"), _services_stay_off():
        run(*apt, "update", env=env)
        run(*apt, "install", "--no-install-recommends", *names, env=env)


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Keep services from starting: a second etcd or dockerd could conflict with the cluster's."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_NO_SERVICES)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
