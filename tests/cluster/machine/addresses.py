"""All addresses of the cluster. They belong to this machine; nothing is routed to another one.

Nomad's containers are on one bridge. Nomad's containers and Kubernetes' pods both reach a test's
server at the bridge's address: containers directly, pods by the default route of their ptp network.
A test can't listen on the pod network, which has no address on the host while no pod runs.

The ports are below 32768, where Linux's ephemeral ports begin (ip(7)). They are not the well-known
ones, so that another etcd or Nomad on the machine doesn't conflict.
"""

import socket

from tests.cluster.errors import ClusterError

BRIDGE = "orchestrator0"
HOST = "10.203.0.1"  # the bridge's own address
CONTAINERS = "10.203.0.0/22"
PODS = "10.203.4.0/22"
SERVICES = "10.203.8.0/24"
FIRST_SERVICE = "10.203.8.1"  # the API server uses the first address itself
LOOPBACK = "127.0.0.1"

ETCD, ETCD_PEER = 21379, 21380
API_SERVER = 21443
KUBELET, KUBELET_HEALTH = 21250, 21248
CONTROLLER_MANAGER, SCHEDULER = 21257, 21259
NOMAD_HTTP, NOMAD_RPC, NOMAD_SERF = 21646, 21647, 21648
NOMAD_CLIENT_HTTP = 21649


def require_free(address: str, *ports: int) -> None:
    """Raises ClusterError if a port is in use. The server itself would report that later, in its log."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                text = f"the cluster can't use {address}:{port}: {error}; end the process that uses the port"
                raise ClusterError(text) from error


def closed(address: str, *ports: int) -> list[int]:
    """The ports on which no process listens, as while a daemon is starting."""
    return [port for port in ports if not _listens(address, port)]


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
