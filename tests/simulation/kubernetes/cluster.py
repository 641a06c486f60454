"""A simulated Kubernetes: the API server, its controllers, its nodes, and somebody who deletes Jobs."""

from __future__ import annotations

from tests.simulation.history import History
from tests.simulation.kubernetes.admission import Queue, Quota
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.job_controller import JobController
from tests.simulation.kubernetes.kubelet import Kubelet
from tests.simulation.kubernetes.store import Change
from tests.simulation.scenario import Scenario
from tests.simulation.seams.network import Network

URL = "https://kubernetes.simulated:6443"


class KubernetesCluster:
    """All of it. It writes down what truly happens."""

    def __init__(self, network: Network, history: History, namespaces: tuple[str, ...], plan: Scenario) -> None:
        self.server = ApiServer(network, namespaces)
        self._history = history
        self._namespaces = namespaces
        self.server.store.listeners.append(self._changed)
        JobController(self.server, history, Quota(self.server, history, plan.quotas)).slow = plan.slow_controllers
        Queue(self.server, history, plan.queued)
        Kubelet(self.server, history)
        network.servers[URL] = self.server

    def _changed(self, change: Change) -> None:
        if change.key[0] == "jobs" and change.old is None and change.new is not None:
            what = "tombstone" if change.new["spec"].get("parallelism") == 0 else ""
            uid = change.new["metadata"]["uid"]
            self._history.record("kubernetes", change.key[1], change.key[2], uid, "created", what)

    def delete(self, name: str) -> None:
        """Somebody deletes the Job of that name."""
        for namespace in self._namespaces:
            key = ("jobs", namespace, name)
            if (job := self.server.store.get(key)) is not None:
                self._history.record("kubernetes", namespace, name, job["metadata"]["uid"], "deleted")
                self.server.delete(key)

    def compact(self) -> None:
        """Old versions cannot be read any more."""
        self.server.store.compacted = self.server.store.version
