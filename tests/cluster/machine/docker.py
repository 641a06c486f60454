"""The dockerd of Nomad's docker driver.

It shares the kubelet's containerd, in a namespace of its own; options: `dockerd --help`.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import Image

from . import cgroups
from .addresses import BRIDGE, LOOPBACK
from .containerd import Containerd
from .daemons import Daemons
from .programs import load

NAME = "dockerd"


@dataclass(frozen=True)
class Docker:
    """A dockerd with everything of its own below one directory."""

    daemons: Daemons

    @property
    def directory(self) -> Path:
        """Where its data are."""
        return self.daemons.places.state / NAME

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        return f"unix://{self.directory / 'docker.sock'}"

    def start(self, containerd: Containerd) -> None:
        """Start it, unless it runs; `trouble` tells when it can be used."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.daemons.pid(NAME) is None:
            self._pidfile.unlink(missing_ok=True)  # a killed one leaves it, and it counts
        self.daemons.start(
            NAME,
            "/usr/sbin/dockerd",
            f"--host={self.address}",
            f"--data-root={self.directory / 'data'}",
            f"--exec-root={self.directory / 'run'}",
            f"--pidfile={self._pidfile}",
            f"--containerd={containerd.socket}",
            f"--cgroup-parent={cgroups.PATH}/docker",
            f"--bridge={BRIDGE}",
            f"--dns={LOOPBACK}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",
        )

    def trouble(self) -> str | None:
        """What keeps it from being ready, or None."""
        done = subprocess.run((*self._docker(), "info"), capture_output=True, check=False)
        return f"dockerd: {done.stderr.decode().strip()}" if done.returncode else None

    def load(self, image: Image) -> None:
        """Make the image known to Nomad's containers, unless it is already.

        Raises ClusterError when dockerd won't have it.
        """
        inspect = (*self._docker(), "image", "inspect", image.reference)
        if subprocess.run(inspect, capture_output=True, check=False).returncode:
            load(image.write, *self._docker(), "load", "--quiet")

    @property
    def _pidfile(self) -> Path:
        return self.directory / "docker.pid"

    def _docker(self) -> tuple[str, ...]:
        return ("/usr/bin/docker", "--host", self.address)
