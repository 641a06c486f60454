"""Submits a job and is killed the moment it would create the Secret: `python -m tests.kubernetes.half_submit DIR`."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from runner.config.types import Config
from runner.drivers.kubernetes.api import Answer, ApiServer
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.runtime.clock import Deadline


class FatalApiServer(ApiServer):
    def call(self, method: str, path: str, deadline: Deadline, **rest: Any) -> Answer:
        if method == "POST" and path.endswith("/secrets"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(method, path, deadline, **rest)


if __name__ == "__main__":
    work = Path(sys.argv[1])
    config = msgspec.json.decode((work / "config").read_bytes(), type=Config)
    job = pickle.loads((work / "job").read_bytes())
    driver = KubernetesDriver(config, resolve_secrets=lambda _: {}, api=FatalApiServer(config.cluster))
    driver.submit(job, Deadline.after(10))
