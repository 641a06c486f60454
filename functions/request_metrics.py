"""What each protocol records of its requests."""

from __future__ import annotations

from collections.abc import Mapping

from runner.errors import TABLE
from runner.request_types import REQUEST_TYPES
from runner.runtime.metrics.definitions import REQUEST_DURATION, REQUESTS
from runner.runtime.metrics.labels import ACCEPTED, OTHER, SERVER_CODES, bounded
from runner.runtime.metrics.meter import Meter, meter
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE

CODES = frozenset({ACCEPTED, *TABLE, *SERVER_CODES})


class RequestMetrics:
    """The requests of one protocol in one process."""

    def __init__(self, protocol: str, meter: Meter) -> None:
        self._protocol = protocol
        self._meter = meter

    def __repr__(self) -> str:
        return f"RequestMetrics({self._protocol}, {self._meter})"

    def answered(self, request_type: str, code: str, seconds: float) -> None:
        """A request was answered so many seconds after its arrival. Without a known type it is of type `other`."""
        kind = bounded(request_type, REQUEST_TYPES) if request_type else OTHER
        self._meter.count(REQUESTS, kind, self._protocol, bounded(code, CODES))
        self._meter.observe(REQUEST_DURATION, seconds)


def of_process(protocol: str, environ: Mapping[str, str]) -> RequestMetrics:
    """Those of this process, recorded if metrics are on. Call it after the fork."""
    return RequestMetrics(protocol, meter(environ, environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET)))
