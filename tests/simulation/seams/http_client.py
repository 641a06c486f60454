"""The simulated HttpClient of one process: what it learns of a request, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.errors import Unavailable
from runner.runtime.clock import Deadline
from tests.simulation.scheduler import Process, Ticket
from tests.simulation.seams.network import LOST, Line, Network, Passage, Request


class SimulatedHttpClient:
    """See runner.drivers.http.client.HttpClient: one process's client."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

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
        response = self._exchange(route, Request(method, path, body, headers, self._process.name), deadline, None)
        return HttpResponse(response.status, response.body, response.retry_after, _only(response.headers, wanted))

    def stream(
        self,
        route: Route,
        path: str,
        deadline: Deadline,
        received: Callable[[bytes], None],
        *,
        headers: Sequence[str] = (),
        silence_seconds: float,
    ) -> HttpResponse:
        """See HttpClient.stream."""
        line = Line(self._network)
        try:
            response = self._exchange(route, Request("GET", path, None, headers, self._process.name), deadline, line)
            if not 200 <= response.status < 300:
                return response
            self._disturb(line)
            while not line.ended or line.waiting:
                seconds = min(silence_seconds, deadline.left)
                arrived = line.next(max(seconds, 0.0))
                self._process.check()
                if arrived is not None:
                    received(arrived)
                elif line.cut or not line.ended:
                    what = "was cut" if line.cut else f"was silent for {seconds:g} s"
                    raise Unsettled(f"{route.server} {what}")
            return HttpResponse(response.status, b"")
        finally:
            line.closed = True

    def _disturb(self, line: Line) -> None:
        network, weather = self._network, self._network.weather
        for probability, disturbance in ((weather.cut, line.break_off), (weather.silent, line.fall_silent)):
            if network.happens(probability):
                network.scheduler.after(network.scheduler.random.random() * 30, "a stream is disturbed", disturbance)

    def _exchange(self, route: Route, request: Request, deadline: Deadline, line: Line | None) -> HttpResponse:
        self._process.check()
        deadline.check(f"asking {route.server}")
        network, scheduler = self._network, self._network.scheduler
        if route.url not in network.servers:
            raise Unavailable(f"{route.url} cannot be reached: no such server")
        if route.url in network.down or network.happens(network.weather.refused):
            scheduler.pause(network.latency(), f"{self._process.name} is refused")
            self._process.check()
            raise Unavailable(f"{route.server} at {route.url} cannot be reached: refused")
        ticket = Ticket(scheduler, f"{self._process.name} gets an answer")
        Passage(network, route.url, request, ticket, line).begin()
        limit = min(deadline.left, float(route.silence_seconds))
        response: HttpResponse | None = scheduler.wait(ticket, limit)
        self._process.check()
        if response is None or response is LOST:
            how = "timed out" if response is None else "reset"
            raise Unsettled(f"{route.server} at {route.url} did not answer: {how}")
        return response


def _only(headers: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in wanted}
