"""The seams of the real code in virtual time: its clock, its signals and its tasks. `network` has its HTTP client."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.scheduler import EPOCH, Process, Scheduler, Ticket

TICK = 1e-7
"""Seconds that pass whenever the monotonic clock is read: no real one shows the same time for ever."""


class VirtualClock:
    """One process's clock. Its wall clock may be wrong by `skew` seconds."""

    def __init__(self, scheduler: Scheduler, process: Process, skew: float = 0.0) -> None:
        self._scheduler = scheduler
        self._process = process
        self._skew = skew

    def wall(self) -> float:
        return EPOCH + self._scheduler.now + self._skew

    def monotonic(self) -> float:
        self._scheduler.now += TICK
        return 1000.0 + self._scheduler.now

    def sleep(self, seconds: float) -> None:
        self._process.check()
        self._scheduler.pause(seconds, f"{self._process.name} sleeps")
        self._process.check()


class VirtualSignal:
    """See runner.runtime.tasks.Signal."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process
        self._up = False
        self._tickets: list[Ticket] = []

    def set(self) -> None:
        self._up = True
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            ticket.wake(True)

    def clear(self) -> None:
        self._up = False

    def is_set(self) -> bool:
        return self._up

    def wait(self, timeout: float | None = None) -> bool:
        self._process.check()
        if not self._up:
            ticket = Ticket(self._scheduler, f"{self._process.name} waits")
            self._tickets = [each for each in self._tickets if not each.done]
            self._tickets.append(ticket)
            self._scheduler.wait(ticket, timeout)
            self._process.check()
        return self._up


class VirtualTasks:
    """See runner.runtime.tasks.Tasks: each task is an actor of the process."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process

    def start(self, name: str, run: Callable[[], None]) -> None:
        self._process.start(name, run)

    def signal(self) -> VirtualSignal:
        return VirtualSignal(self._scheduler, self._process)
