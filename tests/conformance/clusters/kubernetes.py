"""The Kubernetes driver: a real API server and its controllers, a real kubelet, and the ServiceAccount of `deploy`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner import composition
from runner.drivers.kubernetes.driver import KubernetesDriver
from tests import cluster
from tests.conformance.clusters import Cluster
from tests.harness.recording_client import recording
from tests.kubernetes.namespaces import Namespace


class KubernetesCluster(Cluster):
    """Every instance has connections of its own, as another process would."""

    end_seconds = 90.0  # pods start seconds apart, and one that ignores SIGTERM is killed after 30 s

    def __init__(self, namespace: Namespace, image: str) -> None:
        self.namespace = namespace
        self.config = namespace.config()
        self.writes: list[str] = []
        self.image = image  # type: ignore[misc]  # known only after the build
        super().__init__()

    @property
    def place(self) -> str:
        return self.namespace.name

    def lose(self, name: str) -> None:
        self.namespace.kubectl("delete", "job", name, "--wait=true")

    def state(self) -> object:
        return tuple(self.writes)

    def another(self) -> KubernetesDriver:
        return composition.kubernetes(self.config, self.resolver, recording(self.writes))


@contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[KubernetesCluster]:
    access = request.getfixturevalue("real_servers").kubernetes
    shell = cluster.image("shell")
    cluster.load_into_kubernetes(shell)
    make_config = request.getfixturevalue("make_config")
    namespace = Namespace.create(access, request.getfixturevalue("tmp_path"), make_config)
    try:
        yield KubernetesCluster(namespace, shell.reference)
    finally:
        namespace.delete()
