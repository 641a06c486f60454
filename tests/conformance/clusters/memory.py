"""The memory driver: one process and no programs; `carry_on` ends the jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner.drivers.memory import MemoryDriver
from runner.errors import Rejected
from runner.jobs import JobSpec
from runner.runtime.clock import SystemClock
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program


class MemoryCluster(Cluster):
    """The driver is the cluster, so `another` gives the same driver."""

    def __init__(self) -> None:
        super().__init__()
        self._programs: dict[str, Program] = {}

    def another(self) -> MemoryDriver:
        if not hasattr(self, "driver"):
            self.driver = self.make()
        return self.driver

    def lose(self, name: str) -> None:
        self.driver.lose(name)

    def state(self) -> object:
        return {each.name: (each, self._content(each.name)) for each in self.driver.list()}

    def _content(self, name: str) -> object:
        try:
            return self.driver.job(name), self.driver.secrets(name)
        except Rejected:  # a tombstone
            return None

    def make(self) -> MemoryDriver:
        return MemoryDriver(resolve_secrets=self.resolver, clock=SystemClock())

    def job(self, main: Program | str = Program(), **fields: object) -> JobSpec:  # noqa: B008  (frozen)
        made = super().job(main, **fields)
        self._programs[made.name] = main if isinstance(main, Program) else Program()
        return made

    def carry_on(self, job: JobSpec) -> None:
        program = self._programs[job.name]
        self.driver.start(job.name)
        if not program.endless:
            self.driver.finish(job.name, main_exit=program.exit_code, log_tail=program.prints)


@contextmanager
def opened(_request: pytest.FixtureRequest) -> Iterator[MemoryCluster]:
    yield MemoryCluster()
