"""A driver of a Nomad agent in memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from tests.conformance.jobs import SecretResolver
from tests.harness.clock import ManualClock
from tests.unit.drivers.nomad.agent import FakeAgent


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent(ManualClock())


@pytest.fixture
def make_driver(agent: FakeAgent, make_config: Callable[..., Config]) -> Callable[..., NomadDriver]:
    """`make_driver("ci", "night")`: the namespaces of its pools, the default pool's first."""

    def make(*namespaces: str) -> NomadDriver:
        pools = {f"pool-{number}": {"namespace": name} for number, name in enumerate(namespaces[1:])}
        nomad = {"namespace": namespaces[0] if namespaces else "default", "address": "http://nomad.example:4646"}
        config = make_config(driver="nomad", nomad={**nomad, "taskDriver": "raw_exec"}, pools=pools)
        outside = composition.system()._replace(clock=agent.clock, random=Random(7), http=lambda: agent)
        return composition.nomad(config, SecretResolver(), outside)  # type: ignore[return-value]

    return make


@pytest.fixture
def driver(make_driver: Callable[..., NomadDriver]) -> NomadDriver:
    return make_driver()
