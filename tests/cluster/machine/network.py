"""The bridge of the containers and the network of the pods.

No program sets iptables rules. There is no masquerading, since no packet should leave the machine,
and no kube-proxy, so the addresses of Services can't be reached. There is no name server: a name
lookup in a container is refused at once instead of timing out.
"""

import json
import subprocess
from pathlib import Path

from .addresses import BRIDGE, CONTAINERS, HOST, LOOPBACK, PODS
from .programs import run

RESOLVER = f"nameserver {LOOPBACK}\n"  # in a container, where no process listens on it


def bridge() -> None:
    """Create the bridge with the host's address, unless it exists."""
    if _bridge_exists():
        return
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{HOST}/{CONTAINERS.rpartition('/')[2]}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    """Remove the bridge, if it exists."""
    if _bridge_exists():
        run("ip", "link", "delete", BRIDGE)


def pod_network(directory: Path) -> Path:
    """Write the CNI configuration: a point-to-point link and a route for every pod.

    For ptp and host-local see the CNI plugins' documentation, under plugins/main and plugins/ipam.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ranges = [[{"subnet": PODS}]]
    leases = directory.parent / "leases"
    ipam = {
        "type": "host-local",
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(leases),
    }
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}],
    }
    (directory / "pods.conflist").write_text(json.dumps(network))
    return directory


def _bridge_exists() -> bool:
    show = subprocess.run(("ip", "link", "show", BRIDGE), capture_output=True, check=False)
    return show.returncode == 0
