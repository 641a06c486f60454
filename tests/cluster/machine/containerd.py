"""containerd, the container runtime that the kubelet and dockerd use.

For its options see containerd's documentation, "CRI Plugin Config Guide".
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import Image

from .daemons import Daemons
from .network import pod_network
from .programs import load, run

NAME = "containerd"

_CONFIGURATION = """\
version = 2
root = "{state}/root"
state = "{state}/run"
disabled_plugins = [
  "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  # Test machines may lack CAP_SYS_RESOURCE. Without it, a sandbox can't get its score of -998.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{network}"
"""


@dataclass(frozen=True)
class Containerd:
    """A containerd. All its files are below one directory."""

    daemons: Daemons

    @property
    def directory(self) -> Path:
        """The directory of its configuration and data."""
        return self.daemons.places.state / NAME

    @property
    def socket(self) -> Path:
        """The path of the socket that it listens on."""
        return self.directory / "containerd.sock"

    def start(self, sandbox: Image) -> None:
        """Start it, unless it runs. Then wait until `trouble` is None."""
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "config.toml"
        network = pod_network(self.directory / "network")
        values = {"state": self.directory, "socket": self.socket, "network": network}
        configuration.write_text(_CONFIGURATION.format(sandbox=sandbox.reference, **values))
        self.daemons.start(NAME, "/usr/bin/containerd", "--config", configuration)

    def trouble(self) -> str | None:
        """Why it isn't ready, or None if it is."""
        done = subprocess.run((*self._ctr(), "version"), capture_output=True, check=False)
        return f"containerd: {done.stderr.decode().strip()}" if done.returncode else None

    def load(self, image: Image) -> None:
        """Load the image for pods, unless it is loaded.

        Raises ClusterError if containerd rejects it.
        """
        images = (*self._ctr(), "--namespace", "k8s.io", "images")
        if image.reference not in run(*images, "list", "--quiet").split():
            load(image.write, *images, "import", "-")

    def _ctr(self) -> tuple[str, ...]:
        return ("/usr/bin/ctr", "--address", str(self.socket))
