"""An operator who asks for the results of jobs again, as `jobs resend` does, at any moment and more than once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.drivers.driver import Driver
from runner.errors import OrchestratorError
from tests.simulation.history import History, Resend
from tests.simulation.scheduler import Process, Scheduler

TRIES = 40
"""How often an operator looks whether there is a result to send again."""

PAUSE = 1.5
"""Seconds between two tries, at most. It is short, so that a resend comes close behind a mark."""


@dataclass(frozen=True)
class Operator:
    """Repeats the command until it says that a result is published again."""

    scheduler: Scheduler
    history: History
    boot: Callable[[Process], dict[str, Driver]]

    def resend(self, name: str) -> None:
        """Take the mark from each job of that name, once there is one."""
        drivers = self.boot(Process(self.scheduler, "operator"))
        for _ in range(TRIES):
            done = [self._resend(driver, name) for driver in drivers.values()]
            if any(done):
                return
            self.scheduler.pause(PAUSE * self.scheduler.random.random(), "an operator repeats")

    def _resend(self, driver: Driver, name: str) -> bool:
        done = False
        try:
            for seen in [each for each in driver.list() if each.name == name and each.reported]:
                began = self.scheduler.now
                if driver.resend(seen):
                    self.history.resends.append(Resend(began, self.scheduler.now, name, seen.place))
                    done = True
        except OrchestratorError:  # it may have been done all the same
            pass
        return done
