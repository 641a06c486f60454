"""Readiness, for logs and probes: a file that exists, and is renewed, while messages are being consumed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from runner.errors import OrchestratorError
from runner.runtime.clock import Clock
from runner.runtime.metrics.definitions import AMQP_CONNECTED
from runner.runtime.metrics.meter import Meter
from runner.sidecar.client import Client

log = logging.getLogger("orchestrator.amqp")

INTERVAL_SECONDS = 2.0
ANSWER_SECONDS = 3.0


class HealthFile:
    """Checks every INTERVAL_SECONDS. `broker_reason` says why the broker's side is not ready; empty if it is."""

    def __init__(self, path: str, client: Client, broker_reason: Callable[[], str], clock: Clock, meter: Meter) -> None:
        self._path = Path(path) if path else None
        self._client = client
        self._broker_reason = broker_reason
        self._clock = clock
        self._meter = meter
        self._last = "starting"

    async def run(self) -> None:
        """Check until cancelled, then remove the file."""
        try:
            while True:
                broker_reason = self._broker_reason()
                self._meter.set(AMQP_CONNECTED, float(not broker_reason))
                self._log_change(broker_reason or await asyncio.to_thread(self._sidecar_reason))
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._write("stopping")

    def _sidecar_reason(self) -> str:
        try:
            self._client.ping(self._clock.monotonic() + ANSWER_SECONDS)
        except OrchestratorError as error:
            return error.detail
        return ""

    def _log_change(self, reason: str) -> None:
        if reason != self._last:
            self._last = reason
            if reason:
                log.warning("not ready: %s", reason)
            else:
                log.info("ready")
        self._write(reason)

    def _write(self, reason: str) -> None:
        """Write a temporary file and rename it, so that no probe reads half of it."""
        if self._path is None:
            return
        try:
            if reason:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            temporary.write_text(f"ready, pid {os.getpid()}\n")
            temporary.replace(self._path)
        except OSError as error:
            log.error("the health file %s cannot be written: %s", self._path, error)
