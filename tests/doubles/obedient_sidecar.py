"""A sidecar whose driver does as the run's id says: `python -m tests.doubles.obedient_sidecar CONFIG [DIRECTORY]`.

`hold-x` stays in hand until there is a file `release`, `wait-500-x` takes half a second, `raise-busy-x` is refused as
busy, `raise-defect-x` fails in a way that nobody foresaw; any other run is placed at once. The files are those of the
directory. Where one is given, a file of the run's name appears there when its command is in hand, holding the worker's
pid; `clock` in it is read as seconds by which the wall clock is off; and while `unbuildable` is there, no worker can be
built. The driver is named after the worker's process, so every answer says who gave it.
"""

from __future__ import annotations

import logging.config
import os
import sys
from pathlib import Path

from runner.config import loading as configuration
from runner.config.types import Config
from runner.drivers.memory import MemoryDriver
from runner.errors import Problem, revive
from runner.jobs import JobSpec, State
from runner.runtime import logs
from runner.runtime.clock import Clock, Deadline, SystemClock
from runner.sidecar import frames
from runner.sidecar.pool import Pool
from runner.sidecar.server import Sidecar


class ObedientDriver(MemoryDriver):
    """The memory driver, on order slow or failing."""

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        super().__init__(resolve_secrets=lambda job: dict.fromkeys(job.secrets, ""), clock=clock)
        self.name = f"worker-{os.getpid()}"
        self._directory = directory

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        if self._directory:
            (self._directory / job.report.run_id).write_text(str(os.getpid()))
        order, _, operand = job.report.run_id.partition("-")
        operand = operand.partition("-")[0]
        if order == "wait":
            self._clock.sleep(int(operand) / 1000)
        while order == "hold" and self._directory and not (self._directory / "release").exists():
            self._clock.sleep(0.01)
        if order == "raise" and operand == "defect":
            raise RuntimeError("as ordered")
        if order == "raise":
            problems = [Problem("/run_id", "is not wanted")] if operand == "invalid" else []
            raise revive(operand, "as ordered", None, problems)
        return super().submit(job, deadline)


class ObedientSidecar(Sidecar):
    """On order it does what the real one never should: it raises, and gives the pool nothing to answer."""

    def answer(self, body: bytes) -> frames.Reply:
        if b'"run_id":"silence-' in body:
            raise RuntimeError("as ordered")
        return super().answer(body)


class SteppedClock(SystemClock):
    """A wall clock that is off by what the file says."""

    def __init__(self, offset: Path) -> None:
        self._offset = offset

    def wall(self) -> float:
        return SystemClock.wall() + (float(self._offset.read_text()) if self._offset.exists() else 0.0)


def main(path: str, directory: str = "") -> None:
    place = Path(directory) if directory else None
    clock = SteppedClock(place / "clock") if place else SystemClock()
    logging.config.dictConfig(logs.settings())

    def build(config: Config) -> Sidecar:
        if place and (place / "unbuildable").exists():
            raise OSError("as ordered, this cannot be built")
        return ObedientSidecar(config, {name: ObedientDriver(place, clock) for name in config.drivers()}, clock)

    Pool(load=lambda: configuration.load(Path(path), {}), build=build, preload=lambda _: None, clock=clock).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
