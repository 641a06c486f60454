"""Fixtures: helm, built once and cached, and the real Kubernetes."""

from __future__ import annotations

import os
import shutil

import pytest

from tests import cluster
from tests.cluster import binaries
from tests.cluster.lifecycle import places
from tests.conftest import _timeout_suspended


@pytest.fixture(scope="session")
def helm_program(request: pytest.FixtureRequest) -> None:
    """helm is built, which takes minutes once. Skips the test where it cannot be; fails it if CI=true."""
    if not binaries.built(places(), binaries.HELM) and not shutil.which("go"):
        reason = "helm must be built, and Go is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with _timeout_suspended(), capture.global_and_fixture_disabled():
        binaries.build(places(), binaries.HELM)


@pytest.fixture(scope="session")
def access(real_servers: cluster.Cluster) -> cluster.KubernetesAccess:
    return real_servers.kubernetes
