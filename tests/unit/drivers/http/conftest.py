"""The HTTP client in both places where it runs: a plain thread, and a greenlet of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from runner.drivers.http.client import HttpResponse
from runner.drivers.http.curl import CurlHttpClient
from runner.runtime import concurrency
from runner.runtime.clock import SystemClock


class GreenletClient(CurlHttpClient):
    """Sends each request from a greenlet, as a worker of the sidecar's pool does."""

    def request(self, *args: Any, **named: Any) -> HttpResponse:
        return in_greenlet(lambda: super(GreenletClient, self).request(*args, **named))

    def stream(self, *args: Any, **named: Any) -> HttpResponse:
        return in_greenlet(lambda: super(GreenletClient, self).stream(*args, **named))


def in_greenlet(ask: Callable[[], HttpResponse]) -> HttpResponse:
    asked = gevent.spawn(ask)
    gevent.wait([asked])
    response: HttpResponse = asked.get()
    return response


@pytest.fixture
def cooperating() -> Iterator[None]:
    """Waiting in this thread yields to other greenlets, as in a worker of the sidecar's pool."""
    concurrency.cooperate(threads=2)
    yield
    del concurrency._here.hub


@pytest.fixture(params=["thread", "greenlet"])
def client(request: pytest.FixtureRequest) -> CurlHttpClient:
    if request.param == "thread":
        return CurlHttpClient(SystemClock())
    request.getfixturevalue("cooperating")
    return GreenletClient(SystemClock())
