"""The Nomad driver: a real Nomad. Jobs run by raw_exec, which needs no images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from tests.conformance.clusters import Cluster
from tests.harness.recording_client import recording
from tests.nomad.access import Nomad


class NomadCluster(Cluster):
    """Every instance has connections of its own, as another process would."""

    end_seconds = 60.0  # a program that ignores SIGTERM is killed after 30 s

    def __init__(self, config: Config, nomad: Nomad) -> None:
        self.config = config
        self.nomad = nomad
        self.writes: list[str] = []
        super().__init__()

    @property
    def place(self) -> str:
        return self.nomad.namespace

    def lose(self, name: str) -> None:
        self.nomad.purge(name)
        self.nomad.delete(f"var/nomad/jobs/{name}")

    def state(self) -> object:
        return tuple(self.writes)

    def another(self) -> NomadDriver:
        return composition.nomad(self.config, self.resolver, recording(self.writes))


@contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[NomadCluster]:
    nomad = Nomad(request.getfixturevalue("real_servers").nomad, request.getfixturevalue("tmp_path"))
    try:
        yield NomadCluster(nomad.config(request.getfixturevalue("make_config")), nomad)
    finally:
        nomad.close()
