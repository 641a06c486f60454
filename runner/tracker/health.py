"""The tracker's health file: renewed while the tracker makes progress. Its supervisor replaces one that does not."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from runner.runtime.clock import Clock
from runner.tracker.ledger.record import Record

log = logging.getLogger("orchestrator.tracker")

HEALTH_VARIABLE = "ORCHESTRATOR_TRACKER_HEALTH"
"""Names the file. The supervisor sets it; without it, no file is written."""

INTERVAL_SECONDS = 1.0
"""The file is written at most once in so many seconds."""

MOST_SHOWN = 1000
"""How many of the results that atlas has not accepted are in the file, of each driver: the oldest."""


class UnacceptedResult(msgspec.Struct, frozen=True):
    """A result that atlas has not accepted so far, as the file has it."""

    name: str
    place: str
    identity: str
    tries: int
    answer: str
    """What atlas answered last."""
    next_attempt: float
    """Not before this time, in seconds since the epoch."""


def unaccepted(records: Iterable[Record], clock: Clock) -> list[UnacceptedResult]:
    """The results among these that were tried and not accepted, the oldest first."""
    ahead = clock.wall() - clock.monotonic()
    tried = [record for record in records if record.answer and record.step == "publish"]
    return [
        UnacceptedResult(
            name=record.seen.name,
            place=record.seen.place,
            identity=record.seen.identity,
            tries=record.tries,
            answer=record.answer,
            next_attempt=round(ahead + (record.due or 0.0), 1),
        )
        for record in heapq.nsmallest(MOST_SHOWN, tried, key=lambda record: record.decided_at)
    ]


def health_file(socket: str) -> Path:
    """Where the tracker that `up` or `serve` starts has its file: beside the sidecar's socket."""
    return Path(f"{socket}.tracker.health")


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
