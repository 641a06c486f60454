"""The tracker's health file: renewed while the tracker makes progress. Its supervisor replaces one that does not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runner.runtime.clock import Clock

log = logging.getLogger("orchestrator.tracker")

HEALTH_VARIABLE = "ORCHESTRATOR_TRACKER_HEALTH"
"""Names the file. The supervisor sets it; without it, no file is written."""

INTERVAL_SECONDS = 1.0
"""Between two renewals, however often the tracker beats."""


class Heartbeat:
    """Writes the file anew, with what the tracker knows of itself."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path) if path else None
        self._clock = clock
        self._due = float("-inf")
        self._failed = False

    def __repr__(self) -> str:
        return f"Heartbeat({self._path})"

    def beat(self, status: Mapping[str, Any]) -> None:
        """Renew the file with this status, unless that was done within the last second. Any task may call it."""
        now = self._clock.monotonic()
        if self._path is None or now < self._due:
            return
        self._due = now + INTERVAL_SECONDS
        try:
            written = self._path.with_name(f"{self._path.name}.new")
            written.write_bytes(msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
            written.chmod(0o600)
            written.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("the tracker's health file cannot be written: %s; set %s to another", error, HEALTH_VARIABLE)
            self._failed = True
