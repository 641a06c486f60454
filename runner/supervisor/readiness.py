"""Whether each part of an installation is ready, by what it answers or records.

The sidecar is ready if it and its drivers answer. The tracker is ready if each driver has one that runs, and if the
leading one has heard from the driver's cluster within STALE_SECONDS; one that waits while another tracker leads is
ready. RabbitMQ's consumer is ready if it consumes all queues and the sidecar answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runner.errors import OrchestratorError
from runner.runtime.clock import Clock
from runner.runtime.metrics.definitions import AMQP_CONNECTED, LAST_SUCCESS, LEADER
from runner.runtime.metrics.exporter import Readings, State
from runner.sidecar.client import Client

STALE_SECONDS = 60.0
"""The same bound as that of the tracker's own sources (runner.tracker.following)."""

ANSWER_SECONDS = 3.0

_GOOD = ("ok", "waits")


class PartsReadiness:
    """The state of the parts that are expected here. `drivers` are those that have a tracker."""

    def __init__(self, parts: Sequence[str], drivers: Sequence[str], client: Client, clock: Clock) -> None:
        self._checks: dict[str, Callable[[Readings], dict[str, str]]] = {
            "sidecar": lambda _: {"sidecar": self._sidecar()},
            "tracker": self._tracker,
            "amqp": lambda seen: {"rabbitmq": self._amqp(seen)},
        }
        self._parts = parts
        self._drivers = drivers
        self._client = client
        self._clock = clock

    def __repr__(self) -> str:
        return f"PartsReadiness({', '.join(self._parts)})"

    def check(self, seen: Readings) -> tuple[bool, State]:
        """Whether everything is ready; and for each part `ok`, `waits` (another tracker leads), or what is wrong."""
        state = {part: self._checks[part](seen) for part in self._parts}
        return all(text in _GOOD for part in state.values() for text in part.values()), state

    def _sidecar(self) -> str:
        try:
            self._client.ping(self._clock.monotonic() + ANSWER_SECONDS)
        except OrchestratorError as error:
            return error.detail
        return "ok"

    def _tracker(self, seen: Readings) -> dict[str, str]:
        return {driver: self._of_driver(seen, driver) for driver in self._drivers}

    def _of_driver(self, seen: Readings, driver: str) -> str:
        leads = seen.get((LEADER.name, driver))
        if leads is None:
            return "no tracker runs for this driver; see the tracker's log"
        if not leads:
            return "waits"
        age = self._clock.wall() - seen.get((LAST_SUCCESS.name, driver), 0.0)
        if age > STALE_SECONDS:
            return f"the cluster was not heard from for {min(age, 86400):.0f} s; see the tracker's log"
        return "ok"

    def _amqp(self, seen: Readings) -> str:
        if not seen.get((AMQP_CONNECTED.name, "")):
            return "not all queues are consumed; see the consumer's log"
        return self._sidecar()
