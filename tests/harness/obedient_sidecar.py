"""A sidecar whose driver follows the run's id: `python -m tests.harness.obedient_sidecar CONFIG [DIRECTORY]`.

Run ids:

- `hold-x` stays in flight until the file `release` exists.
- `wait-500-x` takes 500 ms.
- `raise-CODE-x` fails with the error of that code, as in `raise-busy-x`.
- `raise-defect-x` raises an exception that is none of the Orchestrator's errors.
- `silence-x` raises an exception outside of the driver, so the client gets no answer.
- Any other run succeeds at once.

Files in DIRECTORY:

- A file with the name of the run's id appears when a worker starts the command. It holds the worker's pid.
- `clock` holds the offset of the wall clock in seconds.
- While `unbuildable` exists, no worker can be built.

The driver's name is `worker-PID`, so each answer identifies its worker.
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
    """The memory driver, slow or failing where the run's id says so."""

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        super().__init__(resolve_secrets=lambda job: dict.fromkeys(job.secrets, ""), clock=clock)
        self.name = f"worker-{os.getpid()}"
        self._directory = directory

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        if self._directory:
            (self._directory / job.report.run_id).write_text(str(os.getpid()))
        instruction, _, operand = job.report.run_id.partition("-")
        operand = operand.partition("-")[0]
        if instruction == "wait":
            self._clock.sleep(int(operand) / 1000)
        while instruction == "hold" and self._directory and not (self._directory / "release").exists():
            self._clock.sleep(0.01)
        if instruction == "raise" and operand == "defect":
            raise RuntimeError("the run's id demands this error")
        if instruction == "raise":
            problems = [Problem("/run_id", "is not wanted")] if operand == "invalid" else []
            raise revive(operand, "the run's id demands this error", None, problems)
        return super().submit(job, deadline)


class ObedientSidecar(Sidecar):
    """Raises an exception where the run's id says so. The real sidecar always returns a reply to the pool."""

    def answer(self, body: bytes) -> frames.Reply:
        if b"silence-" in body:
            raise RuntimeError("the run's id demands this error")
        return super().answer(body)


class SteppedClock(SystemClock):
    """A clock whose wall time differs from the host's by the seconds in a file."""

    def __init__(self, offset: Path) -> None:
        self._offset = offset

    def wall(self) -> float:
        return SystemClock.wall() + (float(self._offset.read_text()) if self._offset.exists() else 0.0)


def main(path: str, directory: str = "") -> None:
    files = Path(directory) if directory else None
    clock = SteppedClock(files / "clock") if files else SystemClock()
    logging.config.dictConfig(logs.settings())

    def build(config: Config) -> Sidecar:
        if files and (files / "unbuildable").exists():
            raise OSError("the file `unbuildable` exists")
        return ObedientSidecar(config, {name: ObedientDriver(files, clock) for name in config.drivers()}, clock)

    Pool(load=lambda: configuration.load(Path(path), {}), build=build, preload=lambda _: None, clock=clock).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
