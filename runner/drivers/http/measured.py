"""An HTTP client that records how long each request to a driver's cluster takes, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runner.drivers.http.client import HttpClient, HttpResponse, Route
from runner.runtime.clock import Clock, Deadline
from runner.runtime.metrics import labels
from runner.runtime.metrics.definitions import DRIVER_REQUEST_DURATION
from runner.runtime.metrics.meter import Meter


class MeasuredHttpClient:
    """Another client's requests, recorded. Its streams are not: they last for as long as they are wanted."""

    def __init__(self, client: HttpClient, driver: str, meter: Meter, clock: Clock) -> None:
        self._client = client
        self._driver = driver
        self._meter = meter
        self._clock = clock
        self.stream: Callable[..., HttpResponse] = client.stream

    def __repr__(self) -> str:
        return f"MeasuredHttpClient({self._client}, {self._driver})"

    def request(
        self,
        route: Route,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: Sequence[str] = (),
        wanted: Sequence[str] = (),
    ) -> HttpResponse:
        """See HttpClient.request."""
        began, code = self._clock.monotonic(), labels.NONE
        try:
            response = self._client.request(route, method, path, deadline, body=body, headers=headers, wanted=wanted)
            code = labels.status(response.status)
        finally:
            verb = labels.bounded(method, labels.VERBS)
            seconds = self._clock.monotonic() - began
            self._meter.observe(DRIVER_REQUEST_DURATION, seconds, self._driver, verb, code)
        return response
