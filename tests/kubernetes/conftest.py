"""Fixtures: one real Kubernetes, started automatically and shared by all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runner.config.types import Config
from tests import cluster
from tests.kubernetes.namespaces import Namespace


@pytest.fixture(scope="session")
def access(real_servers: cluster.Cluster) -> cluster.KubernetesAccess:
    return real_servers.kubernetes


@pytest.fixture
def namespace(
    access: cluster.KubernetesAccess, tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., Config]
) -> Iterator[Namespace]:
    made = Namespace.create(access, tmp_path_factory.mktemp("kubernetes"), make_config)
    yield made
    made.delete()


@pytest.fixture
def other_namespace(namespace: Namespace) -> Iterator[Namespace]:
    """A second namespace on the same cluster."""
    made = Namespace.create(namespace.access, namespace.work, namespace.make_config)
    yield made
    made.delete()


@pytest.fixture(scope="session")
def shell_image(access: cluster.KubernetesAccess) -> str:
    """A small Debian image, for jobs that run a line of shell."""
    image = cluster.image("shell")
    cluster.load_into_kubernetes(image)
    return image.reference
