"""A separate Nomad for one test, with two agents, for tests that stop nodes and would disturb the shared one."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from tests.cluster import NomadAccess
from tests.cluster.errors import ClusterError
from tests.cluster.rest import Rest
from tests.harness.processes import MARK, kill_marked

HTTP, RPC, SERF, CLIENT_HTTP = 23646, 23647, 23648, 23649
_COMMON = """
name = "{name}"
data_dir = "{data}"
bind_addr = "127.0.0.1"
disable_update_check = true
ports {{ http = {http} rpc = {rpc} serf = {serf} }}
advertise {{ http = "127.0.0.1" rpc = "127.0.0.1" serf = "127.0.0.1" }}
"""
_SERVER = 'server { enabled = true bootstrap_expect = 1 heartbeat_grace = "1s" min_heartbeat_ttl = "1s" }'
_CLIENT = """
client {{
  enabled = true
  servers = ["127.0.0.1:{rpc}"]
  network_interface = "lo"
  options = {{ "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault" }}
}}
plugin "raw_exec" {{ config {{ enabled = true }} }}
"""


class PrivateNomad:
    """A server and clients, in plain HTTP on loopback. `close` ends all processes."""

    def __init__(self, access: NomadAccess, directory: Path) -> None:
        self._nomad = access.nomad
        self._directory = directory
        self._mark = uuid.uuid4().hex
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{HTTP}"
        self.rest = Rest(self.url, access.ca, ())

    def start_server(self) -> None:
        self._start("server", _SERVER, HTTP, RPC, SERF)
        self._await(lambda: self.rest("/v1/operator/keyring/keys"))

    def start_client(self, name: str = "client") -> None:
        self._start(name, _CLIENT.format(rpc=RPC), CLIENT_HTTP, RPC + 10, SERF + 10)
        self._await(lambda: [node for node in self.nodes() if node["Status"] == "ready"])

    def kill(self, name: str) -> None:
        """Kill an agent, as a power failure would."""
        agent = self._agents.pop(name)
        agent.kill()
        agent.wait()

    def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.rest("/v1/nodes")
        return found

    def drain(self, node: str) -> None:
        self.rest(f"/v1/node/{node}/drain", {"DrainSpec": {"Deadline": -1}})

    def close(self) -> None:
        """Kill all agents and jobs, also the jobs of killed agents, and unmount what clients have mounted for jobs."""
        kill_marked(self._mark)
        for agent in self._agents.values():
            agent.wait()
        mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
        for mount in mounts:
            if Path(mount).is_relative_to(self._directory):
                subprocess.run(["umount", mount], check=True)

    def _start(self, name: str, role: str, http: int, rpc: int, serf: int) -> None:
        data = self._directory / name
        data.mkdir(exist_ok=True)
        file = self._directory / f"{name}.hcl"
        file.write_text(_COMMON.format(name=name, data=data, http=http, rpc=rpc, serf=serf) + role)
        with (self._directory / f"{name}.log").open("ab") as log:
            command = [str(self._nomad), "agent", f"-config={file}"]
            self._agents[name] = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, MARK: self._mark})

    def _await(self, ready: Any, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            for name, agent in self._agents.items():  # if an agent has exited, another process may have its port
                assert agent.poll() is None, (self._directory / f"{name}.log").read_text()[-1000:]
            try:
                if ready():
                    return
            except ClusterError:
                pass
            assert time.monotonic() < end, "the private Nomad is not ready"
            time.sleep(0.2)
