"""The sidecar as it is deployed, but with the memory driver: `python -m tests.bench.sidecar CONFIG [unsigned]`.

It has as many workers as a sidecar has by default, and each worker has its own memory driver. No configuration allows
that. Here it is allowed, because every request is a new run, so no worker needs another worker's jobs. With `unsigned`,
result tokens are not signed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from runner import composition
from runner.config import loading as configuration
from runner.config.types import Config
from runner.config.types import SidecarSection as Settings
from runner.drivers.memory import MemoryDriver
from runner.jobs import JobSpec
from runner.runtime.clock import SystemClock
from runner.sidecar.pool import Pool
from runner.sidecar.server import Sidecar

_CLOCK = SystemClock()


def _resolve_secrets(job: JobSpec) -> dict[str, str]:
    return dict.fromkeys(job.secrets, "unsigned")


def _unsigned(config: Config) -> Sidecar:
    return Sidecar(config, {"memory": MemoryDriver(resolve_secrets=_resolve_secrets, clock=_CLOCK)}, _CLOCK)


def main(path: Path, *mode: str) -> None:
    def load() -> Config:
        config = configuration.load(path, os.environ)
        sidecar = msgspec.structs.replace(config.sidecar, workers=Settings().workers)
        return msgspec.structs.replace(config, sidecar=sidecar)

    build = _unsigned if mode else composition.sidecar
    Pool(load=load, build=build, preload=composition.preload, clock=_CLOCK).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
