"""An HTTP client that sends every request on to a real one, and remembers those that may change something."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runner import composition
from runner.drivers.http.client import HttpClient, HttpResponse, Route
from runner.runtime.clock import Deadline


class RecordingClient:
    """Remembers method and path of every request but GET in `writes`."""

    def __init__(self, client: HttpClient, writes: list[str]) -> None:
        self._client = client
        self._writes = writes

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
        if method != "GET":
            self._writes.append(f"{method} {path}")
        return self._client.request(route, method, path, deadline, body=body, headers=headers, wanted=wanted)

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
        return self._client.stream(route, path, deadline, received, headers=headers, silence_seconds=silence_seconds)


def recording(writes: list[str]) -> composition.Outside:
    """The system's clock and randomness, and HTTP clients that record."""
    system = composition.system()
    return system._replace(http=lambda: RecordingClient(system.http(), writes))
