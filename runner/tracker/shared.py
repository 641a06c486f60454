"""What the trackers of all drivers share: what the configuration says, and what they publish and measure with."""

from __future__ import annotations

from random import Random
from typing import Protocol

import msgspec

from runner.config.types import LimitsSection
from runner.runtime.clock import Clock
from runner.runtime.tasks import Tasks
from runner.runtime.traces import NoTracer, Tracer
from runner.tracker.circuit_breaker import ResultBreaker
from runner.tracker.metrics import TrackerMetrics
from runner.tracker.results import Result


class Publisher(Protocol):
    """Sends results to atlas."""

    def publish(self, name: str, result: Result) -> None:
        """Returns once atlas has accepted the result. Raises NotAccepted if it has not."""


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says about the tracker. `interval` and `orphaned` are in seconds."""

    limits: LimitsSection
    publishers: int
    interval: float
    orphaned: float


class Shared(msgspec.Struct, frozen=True):
    """What the trackers of all drivers share."""

    publisher: Publisher
    breaker: ResultBreaker
    metrics: TrackerMetrics
    clock: Clock
    random: Random
    tasks: Tasks
    tracer: Tracer = NoTracer()
