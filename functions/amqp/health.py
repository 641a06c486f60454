"""Readiness, for logs and for probes: a file that is there, and fresh, as long as messages are being consumed."""

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

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 3.0


class Health:
    """Looks every LOOK_SECONDS. `trouble` gives what is wrong on the broker's side."""

    def __init__(self, path: str, client: Client, trouble: Callable[[], str], clock: Clock) -> None:
        self._path = Path(path) if path else None
        self._client = client
        self._trouble = trouble
        self._clock = clock
        self._last = "starting"

    async def keep(self) -> None:
        """For ever; the file goes with us."""
        try:
            while True:
                self._note(self._trouble() or await asyncio.to_thread(self._ask))
                await asyncio.sleep(LOOK_SECONDS)
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
        """Written aside and renamed, so that no probe sees half of it."""
        if self._path is None:
            return
        try:
            if trouble:
                self._path.unlink(missing_ok=True)
                return
            aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            aside.write_text(f"ready, pid {os.getpid()}\n")
            aside.replace(self._path)
        except OSError as error:
            log.error("the health file %s cannot be written: %s", self._path, error)
