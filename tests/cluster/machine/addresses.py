"""Every address of the cluster. All of them belong to this machine; nothing is routed elsewhere.

Nomad's containers are attached to one bridge. Tests serve on the bridge's own address, which both
kinds of containers can reach: containers on the bridge directly, pods by the default route of their
ptp network. The pod network has no address on the host while no pod runs, so a test can't listen
there.

The ports are below 32768, the first ephemeral port of Linux (ip(7)), and differ from the default
ports, so that another etcd or Nomad on the machine doesn't conflict.
"""

import socket

from tests.cluster.errors import ClusterError

BRIDGE = "orchestrator0"
HOST = "10.203.0.1"  # the bridge's own address
CONTAINERS = "10.203.0.0/22"
PODS = "10.203.4.0/22"
SERVICES = "10.203.8.0/24"
FIRST_SERVICE = "10.203.8.1"  # the API server's own Service has the first address
LOOPBACK = "127.0.0.1"

ETCD, ETCD_PEER = 21379, 21380
API_SERVER = 21443
KUBELET, KUBELET_HEALTH = 21250, 21248
CONTROLLER_MANAGER, SCHEDULER = 21257, 21259
NOMAD_HTTP, NOMAD_RPC, NOMAD_SERF = 21646, 21647, 21648
NOMAD_CLIENT_HTTP = 21649


def require_free(address: str, *ports: int) -> None:
    """Raises ClusterError when a port is in use. The server's own log would report that too late."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise ClusterError(f"port {address}:{port} can't be used: {error}") from error


def closed_ports(address: str, *ports: int) -> list[int]:
    """The ports on which no process listens, for example of a daemon that is still starting."""
    return [port for port in ports if not _listens(address, port)]


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
