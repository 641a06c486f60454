"""The network between our processes and the simulated servers: latency, losses, cuts and silence.

A request that was sent is applied by the network, not by the process that sent it. So a process may be killed, or give
up waiting, and its request still arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner.drivers.http.client import HttpResponse
from tests.simulation.scheduler import Scheduler, Ticket

LOST = HttpResponse(0, b"")
"""Stands for a connection that was reset before the response arrived."""


@dataclass(frozen=True)
class Request:
    """One request, as a server receives it."""

    method: str
    path: str
    body: bytes | None
    headers: Sequence[str]
    sender: str


@dataclass(frozen=True)
class Later:
    """An answer that takes some time, in which others may write."""

    seconds: float
    finish: Callable[[], HttpResponse]


class Server(Protocol):
    """A simulated server. Its methods take no time; a step of the network calls them."""

    def handle(self, request: Request) -> HttpResponse | Later:
        """Apply a request."""

    def open(self, request: Request, line: Line) -> HttpResponse | None:
        """Begin a response that goes on. None, or the whole response of an error."""


@dataclass
class Weather:
    """How often things fail, as probabilities of one request or stream. All of it ends at `until`."""

    refused: float = 0.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    """The client learns nothing, and the request is applied seconds later."""
    twice: float = 0.0
    """A kept connection was closed: the request is sent and applied again."""
    failing: float = 0.0
    """500 or 503, applied or not."""
    throttled: float = 0.0
    cut: float = 0.0
    silent: float = 0.0
    stale: float = 0.0
    """A list shows an older state, and says so by its version."""
    short_pages: float = 0.0
    expired: float = 0.0
    slow: float = 0.0
    """Latency of seconds instead of milliseconds."""
    outages: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By server: when it does not answer at all."""
    until: float = 0.0


class Network:
    """All servers, and the weather between them and our processes."""

    def __init__(self, scheduler: Scheduler, weather: Weather) -> None:
        self.scheduler = scheduler
        self.weather = weather
        self.servers: dict[str, Server] = {}
        self.down: set[str] = set()

    def stormy(self) -> bool:
        return self.scheduler.now < self.weather.until

    def happens(self, probability: float) -> bool:
        """Whether a fault of that probability happens now. It costs no random number where it cannot."""
        return bool(probability) and self.stormy() and self.scheduler.random.random() < probability

    def out(self, url: str) -> bool:
        """Whether the server is in an outage now."""
        return any(begin <= self.scheduler.now < end for begin, end in self.weather.outages.get(url, ()))

    def latency(self) -> float:
        random = self.scheduler.random.random
        if self.happens(self.weather.slow):
            return 0.5 + 4 * random()
        return 0.001 + 0.03 * random() ** 3


class Line:
    """A response that goes on: lines on their way from a server to one client."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lines: deque[bytes] = deque()
        self._sent: deque[Callable[[], object]] = deque()
        self._ticket: Ticket | None = None
        self._next = 0.0
        self.closed = False
        """The client has gone; the server stops sending."""
        self.ended = False
        self.cut = False
        self._silent = False

    @property
    def waiting(self) -> bool:
        """Whether a line has arrived and was not read."""
        return bool(self._lines)

    def send(self, line: bytes) -> None:
        """Lines arrive in the order in which they were sent."""
        if not self.closed:
            self._deliver(lambda: self._lines.append(line))

    def end(self) -> None:
        self._deliver(lambda: setattr(self, "ended", True))

    def break_off(self) -> None:
        """Cut the connection in the middle of a line."""
        self.cut = True
        self._wake()

    def fall_silent(self) -> None:
        """The connection stays open, and nothing arrives any more."""
        self._silent = True

    def next(self, seconds: float) -> bytes | None:
        """The next line. None if the response has ended or was cut, or after so many seconds."""
        if not self._lines and not self.ended and not self.cut:
            self._ticket = Ticket(self._network.scheduler, "a line arrives")
            self._network.scheduler.wait(self._ticket, seconds)
        return self._lines.popleft() if self._lines and not self.cut else None

    def _deliver(self, arrive: Callable[[], object]) -> None:
        scheduler = self._network.scheduler
        self._next = max(self._next, scheduler.now + self._network.latency())
        self._sent.append(arrive)  # what arrives at the same moment arrives in any order otherwise

        def arrived() -> None:
            first = self._sent.popleft()
            if not self._silent and not self.cut:
                first()
                self._wake()

        scheduler.after(self._next - scheduler.now, "the network delivers", arrived)

    def _wake(self) -> None:
        if self._ticket is not None:
            self._ticket.wake()


class Passage:
    """One request on its way to the server and back."""

    def __init__(self, network: Network, url: str, request: Request, ticket: Ticket, line: Line | None) -> None:
        self._network = network
        self._url = url
        self._request = request
        self._ticket = ticket
        self._line = line
        path = request.path.partition("?")[0]
        self._label = f"{request.sender}: {request.method} {path}"

    def begin(self) -> None:
        network, weather = self._network, self._network.weather
        wait = network.latency()
        if network.out(self._url) or network.happens(weather.lost_before):
            self._lose(wait)
        elif network.happens(weather.late):
            self._lose(wait)
            self._after(wait + network.scheduler.random.random() * 12, "applied late", self._apply_only)
        elif network.happens(weather.throttled):
            answer = HttpResponse(429, b'{"message":"too many requests"}', 1)
            self._after(wait, "is throttled", lambda: self._ticket.wake(answer))
        elif network.happens(weather.failing):
            self._fail(wait)
        elif network.happens(weather.twice):
            self._after(wait, "applied, to be sent again", self._apply_only)
            self._after(wait + network.latency(), "applied again", self._apply)
        else:
            self._after(wait, "applied", self._apply)

    def _after(self, seconds: float, what: str, step: Callable[[], object]) -> None:
        self._network.scheduler.after(seconds, f"{self._label} {what}", step)

    def _lose(self, wait: float) -> None:
        """The client sees a reset, or waits until it gives up."""
        if self._network.scheduler.random.random() < 0.7:
            self._after(wait, "is reset", lambda: self._ticket.wake(LOST))

    def _fail(self, wait: float) -> None:
        status = self._network.scheduler.random.choice((500, 503, 504))
        if self._line is None and self._network.scheduler.random.random() < 0.5:
            self._after(wait, "applied, then fails", self._apply_only)
        answer = HttpResponse(status, b'{"message":"etcdserver: request timed out"}')
        self._after(wait + self._network.latency(), f"fails with {status}", lambda: self._ticket.wake(answer))

    def _apply_only(self) -> None:
        if self._line is None:
            self._handle(lambda _response: None)

    def _apply(self) -> None:
        if self._line is not None:
            server = self._network.servers[self._url]
            self._answer(server.open(self._request, self._line) or HttpResponse(200, b""))
        else:
            self._handle(self._answer)

    def _handle(self, answer: Callable[[HttpResponse], None]) -> None:
        response = self._network.servers[self._url].handle(self._request)
        if isinstance(response, Later):
            finish = response.finish
            self._after(response.seconds, "written", lambda: answer(finish()))
        else:
            answer(response)

    def _answer(self, response: HttpResponse) -> None:
        if self._network.happens(self._network.weather.lost_after):
            self._lose(self._network.latency())
        else:
            answered = f"answered {response.status}"
            self._after(self._network.latency(), answered, lambda: self._ticket.wake(response))
