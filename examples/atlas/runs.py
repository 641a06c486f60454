"""What atlas knows, in memory: runs, what came back, and each delivery with its verdict."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

CANCELLED = 5000
"""The status code of a run that was cancelled; 0 is done, anything else has failed."""

REMEMBERED = 500
"""Deliveries that are kept for the page."""


class Result(msgspec.Struct, frozen=True):
    """One result that was taken. `kwargs` is as it came, with the kind's own report in it."""

    id: str
    kind: str
    at: float
    kwargs: dict[str, Any]

    @property
    def code(self) -> int:
        """0 where it worked. ssh_verify gives its number bare."""
        status = self.kwargs.get("status")
        return int(status.get("code", 0) if isinstance(status, dict) else status or 0)


class Run(msgspec.Struct, frozen=True):
    """One request and what became of it. Replaced, never changed."""

    run_id: str
    kind: str
    sent: str = "unknown"  # to us: another process sent it. Else sending, accepted or refused
    at: float = 0.0
    note: str = ""
    jobs: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()

    @property
    def state(self) -> str:
        """Sending, accepted, refused, unknown, or how it ended: done, failed, cancelled."""
        codes = [result.code for result in self.results]
        if any(code not in (0, CANCELLED) for code in codes):
            return "failed"
        if CANCELLED in codes:
            return "cancelled"
        return "done" if codes and len(codes) >= len(self.jobs) else self.sent

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in ("done", "failed", "cancelled", "refused")


class Delivery(msgspec.Struct, frozen=True):
    """Somebody brought something: when, where, for which run, and whether we took it."""

    at: float
    path: str
    run_id: str
    status: int
    verdict: str


class Runs:
    """All runs. Thread-safe; whoever waits is woken by every change."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._deliveries: deque[Delivery] = deque(maxlen=REMEMBERED)
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"Runs({', '.join(f'{run.run_id}: {run.state}' for run in self.all())})"

    def all(self) -> list[Run]:
        """The newest last."""
        with self._changed:
            return list(self._runs.values())

    def deliveries(self) -> list[Delivery]:
        """The newest last."""
        with self._changed:
            return list(self._deliveries)

    def get(self, run_id: str) -> Run | None:
        """The run as it is now."""
        with self._changed:
            return self._runs.get(run_id)

    def update(self, run_id: str, kind: str, **changes: Any) -> None:
        """Note how the sending of a run goes."""
        with self._changed:
            run = self._runs.get(run_id) or Run(run_id, kind, at=self._clock())
            self._runs[run_id] = msgspec.structs.replace(run, **changes)
            self._changed.notify_all()

    def take(self, kind: str, result_id: str, kwargs: dict[str, Any]) -> bool:
        """Keep a result. False where it is here already: results come at least once."""
        run_id = kwargs["run_id"]
        with self._changed:
            run = self._runs.get(run_id) or Run(run_id, kind, at=self._clock())
            if any(result.id == result_id for result in run.results):
                return False
            result = Result(result_id, kind, self._clock(), kwargs)
            self._runs[run_id] = msgspec.structs.replace(run, results=(*run.results, result))
            self._changed.notify_all()
        return True

    def remember(self, path: str, run_id: str, status: int, verdict: str) -> None:
        """Note a delivery, taken or not."""
        with self._changed:
            self._deliveries.append(Delivery(self._clock(), path, run_id, status, verdict))
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until something changes, or that long."""
        with self._changed:
            self._changed.wait(seconds)
