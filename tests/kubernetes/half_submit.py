"""Submits a job and is killed the moment it would create the Secret: `python -m tests.kubernetes.half_submit DIR`."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from runner.drivers import Deadline
from runner.drivers.kubernetes import KubernetesDriver
from runner.drivers.kubernetes_api import Answer, ApiServer
from runner.settings import Config


class FatalApiServer(ApiServer):
    def call(self, method: str, path: str, deadline: Deadline, **rest: Any) -> Answer:
        if method == "POST" and path.endswith("/secrets"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(method, path, deadline, **rest)


if __name__ == "__main__":
    work = Path(sys.argv[1])
    config = msgspec.json.decode((work / "config").read_bytes(), type=Config)
    job = pickle.loads((work / "job").read_bytes())
    driver = KubernetesDriver(config, unseal=lambda _: {}, api=FatalApiServer(config.cluster))
    driver.submit(job, Deadline.after(10))
