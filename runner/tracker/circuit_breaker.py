"""Decides whether a result may be sent to atlas now.

While atlas is down, only one result at a time is sent, as a probe. Without that, every pending result would be sent in
vain with growing pauses of its own, and the last would arrive minutes after atlas is back. This module does no I/O.
Unlike the RabbitMQ consumer's circuit breaker, it does not wait, and a probe is a result.

closed ── failures of enough different jobs' results, none accepted between ──▶ open: one probe at a time
open ── a success ──▶ closed
"""

from __future__ import annotations

import threading
from random import Random

from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two probes: doubled each time, with jitter (see Backoff)."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds of a Retry-After that are honoured. A probe must reach atlas within about a minute after its return."""

PROBE_SECONDS = 30.0
"""After so many seconds without `succeeded` or `failed`, a probe counts as lost. An attempt takes PUBLISH_SECONDS."""


class ResultBreaker:
    """The circuit breaker of one destination. Any number of threads may use it.

    Call `allow` before sending a result, and `succeeded` or `failed` after that. If only this result was refused, call
    `succeeded` too: the destination answers.
    """

    def __init__(self, opens_after: int, clock: Clock, random: Random) -> None:
        """It opens when results of so many different jobs have failed without a success between."""
        self._opens_after = opens_after
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, random.random)
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._open_since: float | None = None
        self._probe = ""
        self._due = 0.0

    def __repr__(self) -> str:
        with self._lock:
            now = self._clock.monotonic()
            if self._open_since is None:
                return f"ResultBreaker(closed, {len(self._failed)} of {self._opens_after} failures)"
            probe = f"probing with {self._probe}" if self._probe else f"next probe in {max(0, self._due - now):.1f} s"
            return f"ResultBreaker(open for {now - self._open_since:.1f} s, {probe})"

    @property
    def open_since(self) -> float | None:
        """When it opened, on the monotonic clock. None while it is closed."""
        return self._open_since

    @property
    def due(self) -> float:
        """When `allow` may next return True, on the monotonic clock. In the past while it is closed."""
        with self._lock:
            return self._due

    def allow(self, job: str) -> bool:
        """Whether a result of the job of this name may be sent now. While open, True makes it the probe."""
        with self._lock:
            if self._open_since is None:
                return True
            if self._clock.monotonic() < self._due:
                return False
            self._probe = job
            self._due = self._clock.monotonic() + PROBE_SECONDS
            return True

    def succeeded(self) -> bool:
        """The destination has answered. Returns whether this closed it: then all that is pending is due."""
        with self._lock:
            was_open = self._open_since is not None
            self._failed.clear()
            self._backoff.reset()
            self._open_since, self._probe, self._due = None, "", 0.0
            return was_open

    def failed(self, job: str, retry_after: float | None = None) -> bool:
        """The destination did not answer a result of this job, or asked for a pause. Returns whether this opened it.

        While open, only the probe counts: others were sent before it opened.
        """
        with self._lock:
            if self._open_since is not None:
                if job == self._probe:
                    self._pause(retry_after)
                return False
            self._failed.add(job)
            if len(self._failed) < self._opens_after:
                return False
            self._open_since = self._clock.monotonic()
            self._pause(retry_after)
            return True

    def _pause(self, retry_after: float | None) -> None:
        self._probe = ""
        self._due = self._clock.monotonic() + max(self._backoff.next(), min(retry_after or 0, LONGEST_RETRY_AFTER))
