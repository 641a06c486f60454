"""Readiness, for logs and probes: a file that exists, and is renewed, while messages are being consumed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from runner.errors import OrchestratorError
from runner.runtime.clock import Clock
from runner.sidecar.client import Client

log = logging.getLogger("orchestrator.amqp")

INTERVAL_SECONDS = 2.0
ANSWER_SECONDS = 3.0


class HealthFile:
    """Checks every INTERVAL_SECONDS. `trouble` says what is wrong on the broker's side; empty where nothing is."""

    def __init__(self, path: str, client: Client, trouble: Callable[[], str], clock: Clock) -> None:
        self._path = Path(path) if path else None
        self._client = client
        self._trouble = trouble
        self._clock = clock
        self._last = "starting"

    async def run(self) -> None:
        """Check until cancelled, then remove the file."""
        try:
            while True:
                self._note(self._trouble() or await asyncio.to_thread(self._ask))
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._write("stopping")

    def _ask(self) -> str:
        try:
            self._client.ping(self._clock.monotonic() + ANSWER_SECONDS)
        except OrchestratorError as error:
            return error.detail
        return ""

    def _note(self, trouble: str) -> None:
        if trouble != self._last:
            self._last = trouble
            if trouble:
                log.warning("not ready: %s", trouble)
            else:
                log.info("ready")
        self._write(trouble)

    def _write(self, trouble: str) -> None:
        """Write a temporary file and rename it, so that no probe reads half of it."""
        if self._path is None:
            return
        try:
            if trouble:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            temporary.write_text(f"ready, pid {os.getpid()}\n")
            temporary.replace(self._path)
        except OSError as error:
            log.error("the health file %s cannot be written: %s", self._path, error)
