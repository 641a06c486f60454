"""A Nomad cluster of one server and one client, with ACLs and TLS.

It doesn't use `-dev`, which loses all state when the agent restarts. Server and client are two
agents, so that a test can stop the node and keep the server. For the options see Nomad's
documentation, "Agent Configuration" and "Task Drivers".
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .access import NomadAccess
from .binaries import NOMAD
from .certificates import Authority
from .errors import ClusterError
from .machine import cgroups
from .machine.addresses import (
    HOST,
    LOOPBACK,
    NOMAD_CLIENT_HTTP,
    NOMAD_HTTP,
    NOMAD_RPC,
    NOMAD_SERF,
    closed,
    require_free,
)
from .machine.daemons import Daemons
from .machine.docker import Docker
from .rest import Rest

SERVER, CLIENT = "nomad-server", "nomad-client"
DAEMONS = (SERVER, CLIENT)

_DRIVERS = ("docker", "raw_exec")
_URL = f"https://{LOOPBACK}:{NOMAD_HTTP}"
# Agents expect the last two names in each other's certificates (verify_server_hostname).
_SERVER_NAMES = (LOOPBACK, "localhost", "server.global.nomad", "client.global.nomad")

_AGENT = """\
name = "{name}"
data_dir = "{data}"
bind_addr = "{loopback}"
disable_update_check = true
disable_anonymous_signature = true
advertise {{
  # Nomad doesn't derive these from bind_addr if that is loopback.
  http = "{loopback}"
  rpc = "{loopback}"
  serf = "{loopback}"
}}
acl {{
  enabled = true
}}
tls {{
  http = true
  rpc = true
  ca_file = "{ca}"
  cert_file = "{certificate}"
  key_file = "{key}"
  verify_server_hostname = true
  verify_https_client = false
}}
"""

_SERVER_ROLE = """\
ports {{
  http = {http}
  rpc = {rpc}
  serf = {serf}
}}
server {{
  enabled = true
  bootstrap_expect = 1
}}
"""

_CLIENT_ROLE = """\
ports {{
  http = {http}
}}
client {{
  enabled = true
  servers = ["{loopback}:{rpc}"]
  network_interface = "lo"
  # Logs and images must stay, even after many tasks and on a full disk.
  gc_max_allocs = 5000
  gc_disk_usage_threshold = 99
  gc_inode_usage_threshold = 99
  options = {{
    # Requests for a cloud's metadata can make the agent's start fail where nothing answers them.
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault"
  }}
}}
plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}
plugin "docker" {{
  config {{
    endpoint = "{docker}"
    gc {{
      image = false
    }}
    volumes {{
      enabled = true
    }}
  }}
}}
"""

# Nomad ignores its own `cgroup_parent` (1.11, client/lib/cgroupslib) and makes its groups at the
# top of each hierarchy. So the client, and it alone, takes our group for the top.
_CONFINE = f"""
set -e
mount --make-rprivate /sys/fs/cgroup
for group in /sys/fs/cgroup/{cgroups.NAME} /sys/fs/cgroup/*/{cgroups.NAME}; do
    if [ -d "$group" ]; then mount --bind "$group" "${{group%/*}}"; fi
done
exec "$@"
"""


@dataclass(frozen=True)
class Nomad:
    """The two agents. All their files are below one directory."""

    daemons: Daemons
    binaries: Path

    @property
    def directory(self) -> Path:
        """The directory of its keys, configuration and data."""
        return self.daemons.places.state / "nomad"

    @property
    def access(self) -> NomadAccess:
        """Addresses and credentials for clients. Raises ClusterError if there is no cluster."""
        return NomadAccess(
            url=_URL,
            ca=self._authority.pair.certificate,
            token=self._token(),
            token_file=self._token_file,
            host=HOST,
            nomad=self.binaries / "nomad",
            version=NOMAD.version,
        )

    def start_server(self) -> None:
        """Start the server, unless it runs. Then wait until `server_trouble` is None."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._authority.create()
        if not self._token_file.exists():
            self._token_file.touch(0o600)
            self._token_file.write_text(str(uuid.uuid4()))
        ports = {"http": NOMAD_HTTP, "rpc": NOMAD_RPC, "serf": NOMAD_SERF}
        self._start_agent(SERVER, ports, _SERVER_ROLE.format(**ports))

    def start_client(self, docker: Docker) -> None:
        """Start the client. If the server or docker isn't ready, it waits long before it retries."""
        role = _CLIENT_ROLE.format(
            http=NOMAD_CLIENT_HTTP,
            rpc=NOMAD_RPC,
            loopback=LOOPBACK,
            docker=docker.address,
        )
        confine = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", _CONFINE, "sh")
        self._start_agent(CLIENT, {"http": NOMAD_CLIENT_HTTP}, role, *confine)

    def server_trouble(self) -> str | None:
        """Why the server doesn't serve yet, or None if it does. Bootstraps the ACLs if necessary.

        The ACLs can be bootstrapped with the token only when there is a leader, a moment after the
        start (ACL API, Bootstrap Token). The keyring exists last. A client that registers before
        waits 15 seconds until it tries again.
        """
        try:
            keys = self._rest()("/v1/operator/keyring/keys")
        except ClusterError:
            try:
                self._rest()("/v1/acl/bootstrap", {"BootstrapSecret": self._token()})
            except ClusterError as error:
                return f"Nomad: {error}"
            return "Nomad: just bootstrapped"
        return None if keys else "Nomad: no keyring yet"

    def trouble(self) -> str | None:
        """Why the cluster can't run tasks, or None if it can.

        The client's port must be open, since the node stays ready for a while after its agent ended.
        """
        if closed(LOOPBACK, NOMAD_CLIENT_HTTP):
            return "Nomad: the client isn't listening"
        try:
            nodes = self._rest()("/v1/nodes")
        except ClusterError as error:
            return f"Nomad: {error}"
        if not nodes or nodes[0]["Status"] != "ready":
            return "Nomad: no node ready"
        drivers = nodes[0]["Drivers"]
        unhealthy = [name for name in _DRIVERS if not drivers.get(name, {}).get("Healthy")]
        return f"Nomad: drivers not healthy: {', '.join(unhealthy)}" if unhealthy else None

    def _start_agent(self, name: str, ports: Mapping[str, int], role: str, *wrapper: str) -> None:
        if self.daemons.pid(name) is None:
            require_free(LOOPBACK, *ports.values())
        pair = self._authority.issue("nomad", hosts=_SERVER_NAMES)
        common = _AGENT.format(
            name=name,
            data=self.directory / name,
            loopback=LOOPBACK,
            ca=self._authority.pair.certificate,
            certificate=pair.certificate,
            key=pair.key,
        )
        configuration = self.directory / f"{name}.hcl"
        configuration.write_text(common + role)
        agent = (self.binaries / "nomad", "agent", f"-config={configuration}")
        self.daemons.start(name, *wrapper, *agent)

    @property
    def _authority(self) -> Authority:
        return Authority(self.directory / "pki", "orchestrator-cluster Nomad")

    @property
    def _token_file(self) -> Path:
        return self.directory / "token"

    def _token(self) -> str:
        try:
            return self._token_file.read_text()
        except FileNotFoundError as error:
            raise ClusterError("Nomad isn't running; run `python -m tests.cluster up`") from error

    def _rest(self) -> Rest:
        return Rest(_URL, self._authority.pair.certificate, (("X-Nomad-Token", self._token()),))
