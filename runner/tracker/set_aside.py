"""How many jobs are set aside now. Only the cluster knows: the number survives restarts, and falls with each resend.

A task of its own counts them: every few minutes, and soon after a change.
"""

from __future__ import annotations

import logging

from runner.drivers.driver import Driver
from runner.errors import OrchestratorError
from runner.runtime.clock import Clock
from runner.runtime.tasks import Tasks

log = logging.getLogger("orchestrator.tracker")

COUNT_SECONDS = 300.0
"""Between two counts, if nothing changes: others may set jobs aside, send results again, and remove jobs."""

CHANGED_SECONDS = 10.0
"""From a change to the next count. Many changes at once are one count, and a server's cache shows all of them."""

FIRST_SECONDS = 30.0
"""Until the first count, and after one that has failed. A tracker that has just begun has more urgent reads."""

Changes = tuple[int, int]
"""How many marks were written that may change the number, and how often the pending results were sent again."""


class SetAsideCount:
    """The number for one driver, while this process leads."""

    def __init__(self, driver: Driver, clock: Clock, tasks: Tasks) -> None:
        self._driver = driver
        self._clock = clock
        self._tasks = tasks
        self._number = 0
        self._changes: Changes = (0, 0)
        self._due = clock.monotonic() + FIRST_SECONDS
        self._counting = False

    def __repr__(self) -> str:
        return f"SetAsideCount({self._driver.name}, {self._number})"

    def latest(self, changes: Changes) -> int:
        """The number of the last count; 0 before the first. Starts the next one if it is due."""
        now = self._clock.monotonic()
        if changes != self._changes:
            self._changes, self._due = changes, min(self._due, now + CHANGED_SECONDS)
        if now >= self._due and not self._counting:
            self._counting, self._due = True, now + COUNT_SECONDS
            self._tasks.start(f"{self._driver.name} set aside", self._count)
        return self._number

    def _count(self) -> None:
        try:
            self._number = self._driver.count_set_aside()
        except OrchestratorError as error:
            log.debug("the jobs of %s that are set aside cannot be counted: %s", self._driver.name, error.detail)
            self._due = min(self._due, self._clock.monotonic() + FIRST_SECONDS)
        except Exception:
            log.exception("the jobs of %s that are set aside cannot be counted: internal error", self._driver.name)
        finally:
            self._counting = False
