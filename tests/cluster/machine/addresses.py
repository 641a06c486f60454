"""Every address of the cluster. All of them belong to this machine; nothing is routed elsewhere.

One bridge carries Nomad's containers, and its own address is where both kinds of containers find
what a test serves on the host: containers on the bridge reach it directly, pods by the default
route of their ptp network. A pod network has no address on the host while no pod runs, so a test
could not listen on that.

The ports lie below 32768, where Linux begins to hand out ephemeral ones (ip(7)), and apart from the
well-known ones, so that another etcd or Nomad on the machine isn't in the way.
"""

import socket

from tests.cluster.errors import ClusterError

BRIDGE = "orchestrator0"
HOST = "10.203.0.1"  # the bridge's own address
CONTAINERS = "10.203.0.0/22"
PODS = "10.203.4.0/22"
SERVICES = "10.203.8.0/24"
FIRST_SERVICE = "10.203.8.1"  # the API server takes the first address for itself
LOOPBACK = "127.0.0.1"

ETCD, ETCD_PEER = 21379, 21380
API_SERVER = 21443
KUBELET, KUBELET_HEALTH = 21250, 21248
CONTROLLER_MANAGER, SCHEDULER = 21257, 21259
NOMAD_HTTP, NOMAD_RPC, NOMAD_SERF = 21646, 21647, 21648
NOMAD_CLIENT_HTTP = 21649


def require_free(address: str, *ports: int) -> None:
    """Raises ClusterError when a port is taken, which the server's own log would tell too late."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise ClusterError(f"port {address}:{port} can't be had: {error}") from error


def silent(address: str, *ports: int) -> list[int]:
    """The ports on which nobody listens: a daemon that has only just been started."""
    return [port for port in ports if not _listens(address, port)]


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
