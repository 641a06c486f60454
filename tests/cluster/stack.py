"""The composition of the cluster: all daemons, and the order in which they start."""

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

_READY_SECONDS = 120.0  # for one part to become ready, on a busy machine


@dataclass(frozen=True)
class Stack:
    """All daemons, in the order of their dependencies."""

    places: Places

    @property
    def daemons(self) -> Daemons:
        """Starts and finds the daemons."""
        return Daemons(self.places)

    @property
    def containerd(self) -> Containerd:
        """The container runtime of both clusters."""
        return Containerd(self.daemons)

    @property
    def docker(self) -> Docker:
        """The docker daemon that runs Nomad's containers."""
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
        """Addresses and credentials for tests. Raises ClusterError if there is no cluster."""
        return Cluster(kubernetes=self.kubernetes.access, nomad=self.nomad.access)

    def start(self, base: Rootfs) -> None:
        """Start the daemons that aren't running, and wait until all are ready.

        Raises ClusterError if a daemon ends or isn't ready in time.
        """
        # containerd ── dockerd ── nomad server ── client; etcd ── API server ── its clients
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
        """Why the clusters can't run jobs, or None if both can."""
        for name in DAEMONS:
            if self.daemons.pid(name) is None:
                return f"{name} isn't running"
        parts = (self.containerd, self.docker, self.kubernetes, self.nomad)
        return next((trouble for part in parts if (trouble := part.trouble())), None)

    def end(self) -> None:
        """End every process and remove all files of the cluster, but not the cache.

        Also ends the processes of a cluster with another state directory, since there can be only
        one cluster. Raises ClusterError if a process or a file can't be removed.
        """
        cgroups.kill_all()
        cgroups.remove()
        network.remove_bridge()
        # The enclosure's mounts have ended with it. If one is left, its files must not be deleted.
        run("rm", "-rf", "--one-file-system", self.places.state)

    def _await(self, trouble: Callable[[], str | None], *names: str) -> None:
        """Wait until `trouble` returns None. Raises ClusterError if one of the daemons ends."""
        deadline = time.monotonic() + _READY_SECONDS
        while text := trouble():
            self.daemons.require(*names)
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready after {_READY_SECONDS:.0f} s: {text}")
            time.sleep(0.1)
