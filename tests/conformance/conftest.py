"""Runs each test on every cluster that has the abilities it needs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.conformance.clusters import ABILITIES, Cluster

REAL_SECONDS = 400
"""Seconds for one test on a real cluster."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(ability, ...): the abilities that a cluster must have for this test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        needed = {ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args}
        able = [name for name, abilities in ABILITIES.items() if needed <= abilities]
        metafunc.parametrize("cluster", [_parameter(name) for name in able], indirect=True)


def _parameter(name: str) -> Any:
    """A real cluster gets more time: on two cores its jobs run almost one by one."""
    marks = [pytest.mark.timeout(REAL_SECONDS), pytest.mark.real_servers] if name in ("kubernetes", "nomad") else []
    return pytest.param(name, marks=marks)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # Imported here, so the suite of one driver needs no other driver's library.
    with import_module(f"tests.conformance.clusters.{request.param}").opened(request) as opened:
        yield opened
