"""The Debian packages that the cluster and its tests need, besides the programs that are built."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.progress import step

from .programs import run

PACKAGES = {  # package -> a file of it that the cluster uses
    "containerd": Path("/usr/bin/containerd"),
    "containernetworking-plugins": Path("/usr/lib/cni/ptp"),
    "docker.io": Path("/usr/sbin/dockerd"),
    "etcd-server": Path("/usr/bin/etcd"),
    "iproute2": Path("/usr/bin/ip"),
    "mmdebstrap": Path("/usr/bin/mmdebstrap"),
    "nginx-light": Path("/usr/sbin/nginx"),  # for the proofs: a proxy before several replicas
    "openssl": Path("/usr/bin/openssl"),
    "runc": Path("/usr/sbin/runc"),
    "util-linux": Path("/usr/bin/nsenter"),
}

_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_SERVICES = "#!/bin/sh\nexit 101\n"  # "action forbidden by policy", invoke-rc.d(8)


def absent() -> list[str]:
    """The packages that are not installed."""
    return sorted(name for name, file in PACKAGES.items() if not file.exists())


def install() -> None:
    """Install the absent packages, without starting their services.

    Raises ClusterError if there is no apt-get or it fails.
    """
    names = absent()
    if not names:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"there is no apt-get to install {', '.join(names)}; install them otherwise")
    apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {', '.join(names)}"), _services_stay_off():
        run(*apt, "update", env=env)
        run(*apt, "install", "--no-install-recommends", *names, env=env)


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Prevent services from starting: the distribution's etcd and dockerd are not needed."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_NO_SERVICES)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
