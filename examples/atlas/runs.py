"""What atlas knows, in memory: runs, their results, and the requests that jobs sent."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

CANCELLED = 5000
"""The status code of a cancelled run; 0 is done, any other code is a failure."""

MAX_DELIVERIES = 500
"""How many requests from jobs are kept for the page."""


class Result(msgspec.Struct, frozen=True):
    """One accepted result. `kwargs` is as the job sent it; `at` is in seconds since the epoch."""

    id: str
    kind: str
    at: float
    kwargs: dict[str, Any]

    @property
    def code(self) -> int:
        """0 where the run succeeded. The status of ssh_verify is a bare number."""
        status = self.kwargs.get("status")
        return int(status.get("code", 0) if isinstance(status, dict) else status or 0)


class Run(msgspec.Struct, frozen=True):
    """One request and its results. Replaced, never changed.

    `sent` is sending, accepted, or unknown where another process sent the request. `at` is when atlas first knew of the
    run, in seconds since the epoch.
    """

    run_id: str
    kind: str
    sent: str = "unknown"
    at: float = 0.0
    jobs: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()

    @property
    def state(self) -> str:
        """Sending, accepted, unknown, or the end: done, failed, cancelled."""
        codes = [result.code for result in self.results]
        if any(code not in (0, CANCELLED) for code in codes):
            return "failed"
        if CANCELLED in codes:
            return "cancelled"
        return "done" if codes and len(codes) >= len(self.jobs) else self.sent

    @property
    def ended(self) -> bool:
        """Whether the run has reached its end."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def sent_from_here(self) -> bool:
        """Whether `at` is when the request was sent."""
        return self.sent != "unknown"

    @property
    def finished(self) -> float | None:
        """When the last result came, in seconds since the epoch; None before the end."""
        return self.results[-1].at if self.ended else None


class Delivery(msgspec.Struct, frozen=True):
    """One request from a job: when, which path, for which run, and how atlas answered."""

    at: float
    path: str
    run_id: str
    status: int
    verdict: str


class Runs:
    """All runs. Thread-safe; every change ends a `wait`. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._deliveries: deque[Delivery] = deque(maxlen=MAX_DELIVERIES)
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"Runs({', '.join(f'{run.run_id}: {run.state}' for run in self.all())})"

    def now(self) -> float:
        """The time by the clock that stamps runs and deliveries."""
        return self._clock()

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
        """Record how far the sending of a run is."""
        with self._changed:
            run = self._runs.get(run_id) or Run(run_id, kind, at=self._clock())
            self._runs[run_id] = msgspec.structs.replace(run, **changes)
            self._changed.notify_all()

    def add_result(self, kind: str, result_id: str, kwargs: dict[str, Any]) -> bool:
        """Keep a result. False where it is known already: results come at least once."""
        run_id = kwargs["run_id"]
        with self._changed:
            run = self._runs.get(run_id) or Run(run_id, kind, at=self._clock())
            if any(result.id == result_id for result in run.results):
                return False
            result = Result(result_id, kind, self._clock(), kwargs)
            self._runs[run_id] = msgspec.structs.replace(run, results=(*run.results, result))
            self._changed.notify_all()
        return True

    def add_delivery(self, path: str, run_id: str, status: int, verdict: str) -> None:
        """Keep a request from a job, accepted or refused."""
        with self._changed:
            self._deliveries.append(Delivery(self._clock(), path, run_id, status, verdict))
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Return at the next change, or after `seconds`."""
        with self._changed:
            self._changed.wait(seconds)
