"""What the tracker records. No label has a run's id or a job's name; values of no known set become `other`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from runner.config.drivers import DriverName
from runner.observation import Observation
from runner.outcomes import RULES
from runner.runtime.metrics import definitions, labels
from runner.runtime.metrics.meter import Meter, NoMeter
from runner.tracker.advice import HELD, STARTING, reason_of, state_of

REASONS = frozenset({rule.reason for rule in RULES} | {HELD, STARTING, labels.NONE})
DRIVERS = frozenset(get_args(DriverName))

JOBS_SECONDS = 5.0
"""Between two counts of the jobs by reason, each of which is judged for it."""

_NOTHING: Meter = NoMeter()


class TrackerMetrics:
    """What the tracker counts. Any number of threads may call it. `pools`: each pool's driver, of the configuration."""

    def __init__(self, meter: Meter = _NOTHING, pools: Mapping[str, str] = {}) -> None:
        self._meter = meter
        self._pools = frozenset(pools)
        for pool, driver in pools.items() if not isinstance(meter, NoMeter) else ():
            for reason in sorted({rule.reason for rule in RULES}):  # from zero, so that the first one is an increase
                meter.add(definitions.OUTCOMES, 0, driver, pool, reason)
        self._shown: set[tuple[str, ...]] = set()
        self._counted = float("-inf")

    def __repr__(self) -> str:
        return f"TrackerMetrics({self._meter})"

    def results(self, pending: int, oldest: float) -> None:
        """How many results are pending, and the age in seconds of the oldest one."""
        self._meter.set(definitions.PENDING, pending)
        self._meter.set(definitions.OLDEST, oldest)

    def set_aside(self, count: Callable[[], int]) -> None:
        """How many jobs are set aside. They are counted only where somebody can read the number."""
        if not isinstance(self._meter, NoMeter):
            self._meter.set(definitions.SET_ASIDE, count())

    def jobs(self, listed: Callable[[], Iterable[Observation]], now: float) -> None:
        """Count the jobs that are not reported, unless that was done within JOBS_SECONDS (`now`: monotonic)."""
        if isinstance(self._meter, NoMeter) or now - self._counted < JOBS_SECONDS:
            return
        self._counted = now
        numbers = Counter(map(self._labels, listed()))
        for series in self._shown - set(numbers):
            self._meter.set(definitions.JOBS, 0, *series)
        for series, number in numbers.items():
            self._meter.set(definitions.JOBS, number, *series)
        self._shown |= set(numbers)

    def published(self, status: int | None) -> None:
        """An attempt to publish a result has ended, with that status of atlas, or None without an answer."""
        self._meter.count(definitions.PUBLISH, labels.status(status))

    def reported(self, seen: Observation, reason: str, seconds: float) -> None:
        """A job's end was reported, so many seconds after it was noticed."""
        of_job = self._driver_and_pool(seen)
        self._meter.count(definitions.OUTCOMES, *of_job, labels.bounded(reason, REASONS))
        self._meter.observe(definitions.END_TO_REPORT, max(0.0, seconds))

    def ran(self, queued: float, ran: float) -> None:
        """A job has ended that was seen to start: for how many seconds it waited before, and ran after that."""
        self._meter.observe(definitions.QUEUE_DURATION, max(0.0, queued))
        self._meter.observe(definitions.RUN_DURATION, max(0.0, ran))

    def source_alive(self, driver: str, wall: float) -> None:
        """The driver's cluster was heard from at that time, in seconds since the epoch."""
        self._meter.set(definitions.LAST_SUCCESS, wall, labels.bounded(driver, DRIVERS))

    def leading(self, driver: str, leads: bool) -> None:
        """Whether this tracker is the leader for that driver's jobs."""
        self._meter.set(definitions.LEADER, float(leads), labels.bounded(driver, DRIVERS))

    def _driver_and_pool(self, seen: Observation) -> tuple[str, str]:
        return labels.bounded(seen.driver, DRIVERS), labels.bounded(seen.pool, self._pools)

    def _labels(self, seen: Observation) -> tuple[str, ...]:
        reason = reason_of(seen) or labels.NONE
        return (*self._driver_and_pool(seen), state_of(seen), labels.bounded(reason, REASONS))
