"""What the clusters know of the jobs, for the commands of the group `jobs`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.errors import OrchestratorError, Rejected
from runner.observation import Observation
from runner.runtime.clock import SystemClock
from runner.tracker.advice import STARTING, wait_of

UNEXPLAINED_SECONDS = 5.0
"""A job that has waited for so long without a reason is looked up in the cluster's events."""

MOST_EXPLAINED = 100
"""How many of them are looked up, the oldest first: each takes one or two requests to the cluster."""

_AT_ONCE = 8


class Known(msgspec.Struct, frozen=True):
    """One job, and the driver that knows it."""

    seen: Observation
    driver: Driver

    def explained(self) -> Observation:
        """The job; what nothing else explains is looked up in the events. Unreadable events change nothing."""
        return _explained(self.driver, self.seen) if _unexplained(self.seen) else self.seen


def drivers(config: Config) -> Mapping[str, Driver]:
    """The drivers of all pools."""
    from runner import composition  # builds on every driver, and most commands need none

    return composition.drivers(config)


def find(config: Config, name: str) -> Known:
    """The job of that name. Raises Rejected if no cluster has it."""
    for driver in drivers(config).values():
        for job in driver.list():
            if job.name == name:
                return Known(job, driver)
    raise Rejected(f"there is no job {name}; see `jobs list --all`")


def explained(driver: Driver, jobs: Iterable[Observation]) -> Iterator[Observation]:
    """The same jobs; what nothing else explains is looked up in the events. Unreadable events change nothing."""
    jobs = list(jobs)
    waiting = sorted((job for job in jobs if _unexplained(job)), key=lambda job: job.created)[:MOST_EXPLAINED]
    if waiting:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(map(id, waiting), pool.map(lambda job: _explained(driver, job), waiting), strict=True))
        yield from (found.get(id(job), job) for job in jobs)
    else:
        yield from jobs


def now() -> float:
    """The time, in seconds since the epoch."""
    return SystemClock().wall()


def age(since: float) -> str:
    """The time since then, as two or three characters and a unit."""
    return duration(now() - since)


def duration(seconds: float) -> str:
    """Like `90s`, `12m`, `3h`, `2d`: the largest unit of which there are at least two."""
    seconds = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def moment(at: float) -> str:
    """A time of this host's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _unexplained(job: Observation) -> bool:
    wait = wait_of(job)
    return wait is not None and wait.reason == STARTING and now() - job.created > UNEXPLAINED_SECONDS


def _explained(driver: Driver, job: Observation) -> Observation:
    try:
        return driver.explain(job)
    except OrchestratorError:
        return job
