"""The sidecar as it is, but with result tokens that are not signed: `python -m tests.bench.unsigned CONFIG`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runner import config as configuration
from runner.drivers.memory import MemoryDriver
from runner.jobs import JobSpec
from runner.pool import Pool
from runner.settings import Config
from runner.sidecar import Sidecar


def _unseal(job: JobSpec) -> dict[str, str]:
    return dict.fromkeys(job.secrets, "unsigned")


def _build(config: Config) -> Sidecar:
    return Sidecar(config, {"memory": MemoryDriver(unseal=_unseal)})


if __name__ == "__main__":
    path = Path(sys.argv.pop())
    Pool(load=lambda: configuration.load(path, os.environ), build=_build, preload=lambda _: None).run()
