"""dockerd, for Nomad's docker driver.

It uses the kubelet's containerd, with a namespace of its own. For its options see `dockerd --help`.
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
    """A dockerd. All its files are below one directory."""

    daemons: Daemons

    @property
    def directory(self) -> Path:
        """The directory of its data."""
        return self.daemons.places.state / NAME

    @property
    def address(self) -> str:
        """The URL of the socket that it listens on."""
        return f"unix://{self.directory / 'docker.sock'}"

    def start(self, containerd: Containerd) -> None:
        """Start it, unless it runs. Then wait until `trouble` is None."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.daemons.pid(NAME) is None:
            self._pidfile.unlink(missing_ok=True)  # dockerd refuses to start with that of a killed one
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
        """Why it isn't ready, or None if it is."""
        done = subprocess.run((*self._docker(), "info"), capture_output=True, check=False)
        return f"dockerd: {done.stderr.decode().strip()}" if done.returncode else None

    def load(self, image: Image) -> None:
        """Load the image for Nomad's containers, unless it is loaded.

        Raises ClusterError if dockerd rejects it.
        """
        inspect = (*self._docker(), "image", "inspect", image.reference)
        if subprocess.run(inspect, capture_output=True, check=False).returncode:
            load(image.write, *self._docker(), "load", "--quiet")

    @property
    def _pidfile(self) -> Path:
        return self.directory / "docker.pid"

    def _docker(self) -> tuple[str, ...]:
        return ("/usr/bin/docker", "--host", self.address)
