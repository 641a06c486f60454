"""A real tracker over a driver, in this process: for suites that have no need of the processes around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import SystemRandom

from runner.config.types import LimitsSection
from runner.drivers.driver import Driver
from runner.runtime.clock import SystemClock
from runner.runtime.tasks import Threads
from runner.tracker.circuit_breaker import ResultBreaker
from runner.tracker.metrics import TrackerMetrics
from runner.tracker.shared import Publisher, Settings, Shared
from runner.tracker.tracker import Tracker

PUBLISHERS = 4


@contextmanager
def tracking(driver: Driver, publisher: Publisher) -> Iterator[Tracker]:
    """Track while the block runs."""
    clock, random, tasks = SystemClock(), SystemRandom(), Threads()
    limits = LimitsSection(retention_seconds=3600)
    settings = Settings(limits=limits, publishers=PUBLISHERS, interval=0.5, orphaned=3600)
    breaker = ResultBreaker(PUBLISHERS, clock, random)
    shared = Shared(publisher, breaker, TrackerMetrics(), clock, random, tasks)
    tracker = Tracker({driver.name: driver}, settings, shared, "test")
    stop, ended = tasks.signal(), tasks.signal()

    def run() -> None:
        tracker.run(stop)
        ended.set()

    tasks.start("tracker", run)
    try:
        yield tracker
    finally:
        stop.set()
        assert ended.wait(10), "the tracker did not end"


def track_until(driver: Driver, publisher: Publisher, done: Callable[[], bool], seconds: float = 30.0) -> None:
    """Track until `done` holds, and fail if it does not within these seconds."""
    with tracking(driver, publisher):
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, f"not done within {seconds:g} s"
            time.sleep(0.05)


def track_for(driver: Driver, publisher: Publisher, seconds: float = 3.0) -> None:
    """Track for so long: long enough for a list, and for whatever must not follow from it."""
    with tracking(driver, publisher):
        time.sleep(seconds)
