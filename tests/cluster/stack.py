"""The whole cluster: the one place that knows all the parts."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import binaries
from .access import Cluster
from .errors import ClusterError
from .images import sandbox
from .kubernetes import DAEMONS as KUBERNETES
from .kubernetes import SERVER as KUBERNETES_SERVER
from .kubernetes import Kubernetes
from .machine import cgroups, network
from .machine.containerd import NAME as CONTAINERD
from .machine.containerd import Containerd
from .machine.daemons import ENCLOSURE, Daemons
from .machine.docker import NAME as DOCKERD
from .machine.docker import Docker
from .machine.places import Places
from .machine.programs import run
from .nomad import DAEMONS as NOMAD
from .nomad import SERVER as NOMAD_SERVER
from .nomad import Nomad
from .rootfs import Rootfs

DAEMONS = (ENCLOSURE, CONTAINERD, DOCKERD, *KUBERNETES, *NOMAD)

_PATIENCE = 120.0  # seconds for one thing to become ready; on a busy machine it takes a while


@dataclass(frozen=True)
class Stack:
    """All daemons, in the order in which they need each other."""

    places: Places

    @property
    def daemons(self) -> Daemons:
        """Who starts and finds them."""
        return Daemons(self.places)

    @property
    def containerd(self) -> Containerd:
        """The container runtime below both clusters."""
        return Containerd(self.daemons)

    @property
    def docker(self) -> Docker:
        """What Nomad runs containers by."""
        return Docker(self.daemons)

    @property
    def kubernetes(self) -> Kubernetes:
        """The Kubernetes cluster."""
        return Kubernetes(self.daemons, binaries.directory(self.places, binaries.KUBERNETES))

    @property
    def nomad(self) -> Nomad:
        """The Nomad cluster."""
        return Nomad(self.daemons, binaries.directory(self.places, binaries.NOMAD))

    @property
    def access(self) -> Cluster:
        """What a test needs; raises ClusterError when there is no cluster."""
        return Cluster(kubernetes=self.kubernetes.access, nomad=self.nomad.access)

    def start(self, base: Rootfs) -> None:
        """Start what isn't running, and wait until all is ready.

        Raises ClusterError when a daemon ends, or something isn't ready in time.
        """
        # containerd ── dockerd ── nomad server ── client; etcd ── API server ── all that asks it
        cgroups.prepare()
        network.bridge()
        self.daemons.enclose()
        self.kubernetes.start_server()
        self.nomad.start_server()
        self.containerd.start(sandbox(base))
        self._await(self.containerd.trouble, CONTAINERD)
        self.docker.start(self.containerd)
        self.containerd.load(sandbox(base))
        self._await(self.docker.trouble, DOCKERD)
        self._await(self.kubernetes.server_trouble, *KUBERNETES_SERVER)
        self.kubernetes.start_clients(self.containerd)
        self._await(self.nomad.server_trouble, NOMAD_SERVER)
        self.nomad.start_client(self.docker)
        self._await(self.trouble, *DAEMONS)

    def trouble(self) -> str | None:
        """What is wrong with the cluster, or None when both can run jobs."""
        for name in DAEMONS:
            if self.daemons.pid(name) is None:
                return f"{name} isn't running"
        parts = (self.containerd, self.docker, self.kubernetes, self.nomad)
        return next((trouble for part in parts if (trouble := part.trouble())), None)

    def end(self) -> None:
        """End every process, and remove all that the cluster ever made, but for the cache.

        Also ends what is left of a cluster that was started for another state directory, since
        there can be only one. Raises ClusterError when something resists.
        """
        cgroups.kill_all()
        cgroups.remove()
        network.remove_bridge()
        # Nothing is mounted here, the enclosure is gone; if it were, another file system's files
        # would be the last thing to delete.
        run("rm", "-rf", "--one-file-system", self.places.state)

    def _await(self, trouble: Callable[[], str | None], *names: str) -> None:
        """Wait until there is no trouble; it is hopeless once one of the daemons has ended."""
        deadline = time.monotonic() + _PATIENCE
        while text := trouble():
            self.daemons.require(*names)
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready after {_PATIENCE:.0f} s: {text}")
            time.sleep(0.1)
