"""The tracker's metrics, in a registry of its own, which an endpoint can serve.

No label has a run's id or a job's name, so the number of series is bounded by the configuration: drivers and pools, the
table of outcomes, and the statuses of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

NO_ANSWER = "none"
"""The label `status` of an attempt to publish that got no answer."""

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
"""Bounds of the histogram: from a published end at once to an atlas that was down for a day."""


class TrackerMetrics:
    """What the tracker counts. Any number of threads may call it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._pending = Gauge("orchestrator_results_pending", "Results that atlas has not accepted.", registry=registry)
        self._oldest = Gauge(
            "orchestrator_results_oldest_pending_seconds", "Age of the oldest pending result.", registry=registry
        )
        self._set_aside = Gauge(
            "orchestrator_results_set_aside", "Results that atlas refuses for good.", registry=registry
        )
        self._attempts = Counter(
            "orchestrator_result_publish",
            "Attempts to publish a result, by the status of atlas's answer.",
            ["status"],
            registry=registry,
        )
        self._outcomes = Counter(
            "orchestrator_job_outcomes", "Ended jobs by outcome.", ["driver", "pool", "reason"], registry=registry
        )
        self._delay = Histogram(
            "orchestrator_end_to_report_seconds",
            "Seconds from a job's end to atlas's acceptance of its result.",
            buckets=SECONDS,
            registry=registry,
        )
        self._alive = Gauge(
            "orchestrator_tracker_last_success_timestamp_seconds",
            "When the tracker last heard from the driver's cluster.",
            ["driver"],
            registry=registry,
        )
        self._leader = Gauge(
            "orchestrator_leader", "1 while this tracker leads for the driver's jobs.", ["driver"], registry=registry
        )

    def __repr__(self) -> str:
        return "TrackerMetrics()"

    def watch(self, pending: Callable[[], int], oldest: Callable[[], float], set_aside: Callable[[], int]) -> None:
        """Read these three whenever the metrics are read: two numbers of results, and an age in seconds."""
        self._pending.set_function(pending)
        self._oldest.set_function(oldest)
        self._set_aside.set_function(set_aside)

    def published(self, status: int | None) -> None:
        """An attempt to publish a result has ended, with that status of atlas, or None without an answer."""
        label = NO_ANSWER if status is None else str(status) if 100 <= status <= 599 else "other"
        self._attempts.labels(label).inc()

    def reported(self, driver: str, pool: str, reason: str, seconds: float | None) -> None:
        """A job's end was reported, so many seconds after it; None if nobody knows when it ended."""
        self._outcomes.labels(driver, pool, reason).inc()
        if seconds is not None:
            self._delay.observe(max(0.0, seconds))

    def source_alive(self, driver: str, wall: float) -> None:
        """The driver's cluster was heard from at that time, in seconds since the epoch."""
        self._alive.labels(driver).set(wall)

    def leading(self, driver: str, leads: bool) -> None:
        """Whether this tracker is the leader for that driver's jobs."""
        self._leader.labels(driver).set(leads)
