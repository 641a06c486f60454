"""A simulated atlas: takes results by id, and is out, slow or refusing at times."""

from __future__ import annotations

from typing import Any

import msgspec

from runner.drivers.http.client import HttpResponse
from tests.simulation.history import Arrival, History
from tests.simulation.seams.network import Network, Request

URL = "https://atlas.example"


class Atlas:
    """Keeps every body that it took. `refusing` is the probability of an error status while the weather lasts."""

    def __init__(self, network: Network, history: History, refusing: float = 0.0) -> None:
        self._network = network
        self._history = history
        self._refusing = refusing

    def handle(self, request: Request) -> HttpResponse:
        """See Server.handle."""
        if self._network.happens(self._refusing):
            status = self._network.scheduler.random.choice((401, 403, 408, 429, 500, 502, 503))
            return HttpResponse(status, b"not now")
        body: dict[str, Any] = msgspec.json.decode(request.body or b"{}")
        self._history.arrivals.append(Arrival(self._network.scheduler.now, request.path, body))
        return HttpResponse(200, b"{}")

    def open(self, _request: Request, _line: object) -> HttpResponse:
        """See Server.open: atlas has no streams."""
        return HttpResponse(404, b"")
