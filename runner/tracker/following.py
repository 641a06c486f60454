"""Follows a source for as long as the tracker leads: session after session, whatever fails.

A source that cannot be read is stale: its jobs' ends are not noticed. That is logged once when it begins and once when
it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from runner.drivers.driver import Source
from runner.errors import OrchestratorError
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.runtime.tasks import Signal
from runner.tracker.ledger.ledger import Ledger

log = logging.getLogger("orchestrator.tracker")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds before a failed session is repeated: doubled each time, with jitter (see Backoff)."""

STALE_SECONDS = 60.0
"""A source that was not read for so long is stale. A watch is proved alive by a bookmark or its end each 25 s."""


class FollowedSource:
    """One source, and when its last session ended well."""

    def __init__(self, source: Source, ledger: Ledger, clock: Clock, random: Callable[[], float]) -> None:
        self.name = source.name
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, random)
        self._logged = False
        self.worked = clock.monotonic()

    def __repr__(self) -> str:
        return f"FollowedSource({self.name}, {'stale' if self.stale else 'read'})"

    @property
    def stale(self) -> bool:
        """Whether it has not been read for STALE_SECONDS."""
        return self._clock.monotonic() - self.worked > STALE_SECONDS

    def run(self, closed: Signal) -> None:
        """Sessions, until `closed` is set."""
        while not closed.is_set():
            closed.wait(self.session())

    def session(self) -> float:
        """One session. Gives the seconds until the next one."""
        try:
            self._source.follow(self._ledger)
        except OrchestratorError as error:
            return self._failed(error.detail)
        except Exception as error:
            log.exception("%s cannot be followed: internal error", self.name)
            return self._failed(repr(error))
        self._recovered()
        return self._source.pause

    def _failed(self, detail: str) -> float:
        if self.stale and not self._logged:
            self._logged = True
            log.error(
                "%s was not read for %.0f s, so ends are not noticed: %s; it is tried again until it works",
                self.name,
                self._clock.monotonic() - self.worked,
                detail,
            )
        else:
            log.debug("%s: %s", self.name, detail)
        return self._backoff.next()

    def _recovered(self) -> None:
        self.worked = self._clock.monotonic()
        self._backoff.reset()
        if self._logged:
            log.warning("%s is read again", self.name)
        self._logged = False
