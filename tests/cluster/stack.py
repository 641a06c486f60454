"""The whole cluster: builds every part and starts them in order."""

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

_PATIENCE = 120.0  # seconds for one part to become ready, sufficient on a busy machine


@dataclass(frozen=True)
class Stack:
    """All daemons, in the order of their dependencies."""

    places: Places

    @property
    def daemons(self) -> Daemons:
        """Starts and finds the processes."""
        return Daemons(self.places)

    @property
    def containerd(self) -> Containerd:
        """The container runtime of both clusters."""
        return Containerd(self.daemons)

    @property
    def docker(self) -> Docker:
        """The dockerd of Nomad's docker driver."""
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
        """Addresses and credentials for a test. Raises ClusterError when there is no cluster."""
        return Cluster(kubernetes=self.kubernetes.access, nomad=self.nomad.access)

    def start(self, base: Rootfs) -> None:
        """Start each daemon that isn't running, and wait until all are ready.

        Raises ClusterError when a daemon ends, or isn't ready in time.
        """
        # containerd ── dockerd ── nomad server ── client; etcd ── API server ── its clients
        cgroups.prepare()
        network.bridge()
        self.daemons.enclose()
        self.kubernetes.start_server()
        self.nomad.start_server()
        self.containerd.start(sandbox(base))
        self._await(self.containerd.problem, CONTAINERD)
        self.docker.start(self.containerd)
        self.containerd.load(sandbox(base))
        self._await(self.docker.problem, DOCKERD)
        self._await(self.kubernetes.server_problem, *KUBERNETES_SERVER)
        self.kubernetes.start_clients(self.containerd)
        self._await(self.nomad.server_problem, NOMAD_SERVER)
        self.nomad.start_client(self.docker)
        self._await(self.problem, *DAEMONS)

    def problem(self) -> str | None:
        """What is wrong with the cluster, or None when both can run jobs."""
        for name in DAEMONS:
            if self.daemons.pid(name) is None:
                return f"{name} isn't running"
        parts = (self.containerd, self.docker, self.kubernetes, self.nomad)
        return next((problem for part in parts if (problem := part.problem())), None)

    def end(self) -> None:
        """End every process, and remove everything that the cluster made except the cache.

        Also ends the processes of a cluster with another state directory, since a machine can have
        only one cluster. Raises ClusterError when a process or a directory can't be removed.
        """
        cgroups.kill_all()
        cgroups.remove()
        network.remove_bridge()
        # The mounts ended with the enclosure. --one-file-system protects other file systems in case
        # one is still mounted below the state directory.
        run("rm", "-rf", "--one-file-system", self.places.state)

    def _await(self, problem: Callable[[], str | None], *names: str) -> None:
        """Wait until there is no problem. Raises ClusterError at once when one of the daemons has ended."""
        deadline = time.monotonic() + _PATIENCE
        while text := problem():
            self.daemons.require(*names)
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready after {_PATIENCE:.0f} s: {text}")
            time.sleep(0.1)
