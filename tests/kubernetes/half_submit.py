"""Submits a job and kills itself before it creates the Secret: `python -m tests.kubernetes.half_submit DIRECTORY`."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from runner import composition
from runner.config.types import Config
from runner.drivers.http.client import HttpResponse, Route
from runner.drivers.http.curl import CurlHttpClient
from runner.runtime.clock import Deadline
from tests.harness.deadlines import within


class Fatal(CurlHttpClient):
    def request(self, route: Route, method: str, path: str, deadline: Deadline, **rest: Any) -> HttpResponse:
        if method == "POST" and path.endswith("/secrets"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().request(route, method, path, deadline, **rest)


if __name__ == "__main__":
    work = Path(sys.argv[1])
    config = msgspec.json.decode((work / "config").read_bytes(), type=Config)
    job = pickle.loads((work / "job").read_bytes())
    outside = composition.system()
    outside = outside._replace(http=lambda: Fatal(outside.clock))
    driver = composition.kubernetes(config, lambda _: {}, outside)
    driver.submit(job, within(10))
