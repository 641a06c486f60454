"""The process that serves the metrics: its signals and its exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from runner.runtime import exit_codes
from runner.runtime.clock import SystemClock
from runner.runtime.metrics import files
from runner.runtime.metrics.exporter import Metrics, MetricsServer, handler
from runner.sidecar.client import Client
from runner.supervisor.readiness import PartsReadiness

log = logging.getLogger("orchestrator.metrics")


def run(bind: str, socket: str, parts: Sequence[str], drivers: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT. Exits with 1 if it cannot listen: the supervisor then tries again."""
    directory = Path(os.environ.get(files.VARIABLE) or files.beside(socket))
    clock = SystemClock()
    readiness = PartsReadiness(parts, drivers, Client(socket, clock), clock)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        server = MetricsServer(bind, handler(Metrics(directory, socket), readiness.check))
    except OSError as error:
        log.error("the metrics of %s cannot be served at %s: %s; set metrics.bind to another", directory, bind, error)
        sys.exit(exit_codes.DEFECT)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    log.info("serving metrics on %s", bind)
    server.serve_forever()
    server.server_close()
