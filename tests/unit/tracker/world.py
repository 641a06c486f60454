"""A tracker over the memory driver, in a world where time passes only when a test lets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from runner.commands import plan
from runner.config.types import Config, LimitsSection
from runner.drivers.driver import Driver
from runner.drivers.memory import MemoryDriver
from runner.errors import OrchestratorError
from runner.jobs import Cancellation, JobSpec
from runner.observation import Observation
from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES
from runner.runtime.metrics.meter import Recorder
from runner.runtime.tasks import Signal
from runner.tracker.circuit_breaker import ResultBreaker
from runner.tracker.metrics import TrackerMetrics
from runner.tracker.publisher import NotAccepted
from runner.tracker.results import Result
from runner.tracker.shared import Settings, Shared
from runner.tracker.tracker import Tracker
from tests.harness.deadlines import within
from tests.harness.tasks import SteppedTasks

PUBLISHERS = 4


class Inbox:
    """Atlas: keeps the results that it accepts. `answer` may raise, or take its time."""

    def __init__(self, clock: SteppedTasks) -> None:
        self._clock = clock
        self.accepted: list[Result] = []
        self.attempts: list[tuple[float, str]] = []
        self.answer: Callable[[str], OrchestratorError | None] = lambda name: None

    def publish(self, name: str, result: Result) -> None:
        self.attempts.append((self._clock.monotonic(), name))
        error = self.answer(name)
        if error is not None:
            raise error
        self.accepted.append(result)

    def refuse(self, status: int | None = 500) -> None:
        """Refuse every result from now on."""
        self.answer = lambda name: NotAccepted(f"atlas answered {status}", status=status)

    def accept(self) -> None:
        """Accept every result from now on."""
        self.answer = lambda name: None

    def codes(self) -> list[int]:
        """The status codes of the accepted results, in order."""
        statuses = [sent.body["kwargs"]["status"] for sent in self.accepted]
        return [each if isinstance(each, int) else each["code"] for each in statuses]


class World:
    """The memory driver, the tracker over it, and atlas."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SteppedTasks()
        self.inbox = Inbox(self.clock)
        self.driver = MemoryDriver(resolve_secrets=lambda _: {}, clock=self.clock)
        self.registry = CollectorRegistry()
        self._stop: Signal | None = None
        self.statuses: list[Mapping[str, Any]] = []
        self.stopped = 0.0
        """When the last tracker that was to stop had stopped."""

    def track(self, *drivers: Driver, inbox: Inbox | None = None, **limits: int) -> None:
        """Start a tracker. It takes the place of the one before, which ends with all that it knew."""
        self.kill()
        stop = self._stop = self.clock.signal()
        self.registry = CollectorRegistry()
        settings = Settings(limits=LimitsSection(**limits), publishers=PUBLISHERS, interval=2, orphaned=1)
        shared = Shared(
            publisher=inbox or self.inbox,
            breaker=ResultBreaker(PUBLISHERS, self.clock, Random(1)),
            metrics=TrackerMetrics(Recorder(self.registry), dict.fromkeys(self.config.pool_names(), self.driver.name)),
            clock=self.clock,
            random=Random(1),
            tasks=self.clock,
        )
        named = {str(number): driver for number, driver in enumerate(drivers or (self.driver,))}
        tracker = Tracker(named, settings, shared, "test")

        def run() -> None:
            tracker.run(stop, self.statuses.append)
            self.stopped = self.clock.monotonic()

        self.clock.start("tracker", run)

    def kill(self, within_seconds: float = 2) -> None:
        """End the tracker."""
        if self._stop is not None:
            self._stop.set()
            self.clock.advance(within_seconds)
        self._stop = None

    def run(self, seconds: float = 3) -> None:
        """Let this time pass: by default, until all that is there was listed and published."""
        if self._stop is None:
            self.track()
        self.clock.advance(seconds)

    def submit(self, request_type: str, document: dict[str, Any]) -> JobSpec:
        """Submit the request's job."""
        (job,) = plan(_decoded(request_type, document), self.config)
        assert isinstance(job, JobSpec)
        self.driver.submit(job, within(5))
        return job

    def cancel(self, document: dict[str, Any]) -> None:
        """Cancel the only check of this analysis."""
        meta = {"run_id": document["run_id"], "run_serial": "0", "check_seq": "1"}
        request = _decoded("cancel_check_run", {"run_id": "cancel-1", "analysis_meta": meta})
        (cancellation,) = plan(request, self.config)
        assert isinstance(cancellation, Cancellation)
        self.driver.cancel(cancellation, within(5), tombstone=True)

    def seen(self, name: str) -> Observation:
        """The job as its driver shows it."""
        return next(seen for seen in self.driver.list() if seen.name == name)


def _decoded(request_type: str, document: dict[str, Any]) -> Any:
    policy = RequestPolicy(runner_id="", public_key="")
    return decode(json.dumps(document).encode(), REQUEST_TYPES[request_type].payload, policy)
