"""Fixtures: one real Nomad, started automatically and shared by all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from tests import cluster
from tests.conformance.jobs import SecretResolver
from tests.nomad.access import Nomad


@pytest.fixture(scope="session")
def access(real_servers: cluster.Cluster) -> cluster.NomadAccess:
    return real_servers.nomad


@pytest.fixture
def nomad(access: cluster.NomadAccess, tmp_path: Path) -> Iterator[Nomad]:
    """A new namespace with the shipped policy."""
    made = Nomad(access, tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_driver(nomad: Nomad, make_config: Callable[..., Config]) -> Callable[..., NomadDriver]:
    """A driver for that namespace: `make_driver(address=proxy.url, pools=…)`."""

    def make(resolve_secrets: Any = None, **settings: Any) -> NomadDriver:
        config = nomad.config(make_config, **settings)
        return composition.nomad(config, resolve_secrets or SecretResolver(), composition.system())

    return make


@pytest.fixture
def driver(make_driver: Callable[..., NomadDriver]) -> NomadDriver:
    return make_driver()
