"""The printer driver: the memory driver, which also prints what it would create."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner.config.types import Config
from runner.drivers.printer import PrinterDriver
from runner.runtime.clock import SystemClock
from tests.conformance.clusters.memory import MemoryCluster


class PrinterCluster(MemoryCluster):
    """Keeps the printed text in `paper`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.paper = io.StringIO()
        super().__init__()

    def state(self) -> object:
        return super().state(), self.paper.getvalue()

    def make(self) -> PrinterDriver:
        return PrinterDriver(self._config, resolve_secrets=self.resolver, clock=SystemClock(), out=self.paper)


@contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[PrinterCluster]:
    yield PrinterCluster(request.getfixturevalue("make_config")(driver="printer"))
