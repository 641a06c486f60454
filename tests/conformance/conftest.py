"""Gives each test every cluster that can show it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.conformance.clusters import ABILITIES, Cluster


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(ability, ...): what a cluster must be able to show for this test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        needed = {ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args}
        able = [name for name, abilities in ABILITIES.items() if needed <= abilities]
        metafunc.parametrize("cluster", able, indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # Imported only now: the suite of one driver needs no other driver's library.
    with import_module(f"tests.conformance.clusters.{request.param}").opened(request) as opened:
        yield opened
