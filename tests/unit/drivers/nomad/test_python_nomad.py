"""Our session sends what python-nomad's own session, by `requests`, would send. Pins the interface between the two."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import responses
from nomad.api.base import Requester

from runner.config.drivers import NomadSection
from runner.drivers.http.client import HttpResponse
from runner.drivers.nomad.api import NomadClient
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within

ADDRESS = "https://nomad.example:4646"
QUERY = {"namespace": "a b/ü", "prefix": "analysis-s0", "per_page": "100"}

Sent = tuple[str, str, list[tuple[str, str]], Any, str]
"""Method, path, query, body and token of a request."""


class RecordingHttp:
    """Answers every request with an empty list, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def request(
        self, _route: Any, method: str, path: str, _deadline: Any, *, body: bytes | None = None, **named: Any
    ) -> HttpResponse:
        headers = dict(header.split(": ", 1) for header in named["headers"])
        self.sent.append(_sent(method, path, body, headers))
        return HttpResponse(status=200, body=b"[]")


def _sent(method: str, url: str, body: bytes | str | None, headers: Any) -> Sent:
    parts = urlsplit(url)
    content = json.loads(body) if body else None
    return method, parts.path, sorted(parse_qsl(parts.query)), content, headers["X-Nomad-Token"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "jobs", None), ("POST", "jobs", {"Job": {"ID": "x"}}), ("DELETE", "job/x", None)],
)
@responses.activate
def test_the_same_request_leaves(method: str, path: str, body: Any, tmp_path: Any) -> None:
    responses.add(method, f"{ADDRESS}/v1/{path}", json=[])
    stock = Requester(address=ADDRESS, region="eu", token="t-1")
    content = None if body is None else json.dumps(body)
    stock._request(method=method, endpoint=f"v1/{path}", params=dict(QUERY), data=content)
    request = responses.calls[0].request

    (tmp_path / "token").write_text("t-1")
    section = NomadSection(address=ADDRESS, region="eu", token_file=str(tmp_path / "token"))
    http = RecordingHttp()
    NomadClient(section, http=http, clock=ManualClock()).call(method, path, within(5), body=body, query=QUERY)

    assert http.sent == [_sent(request.method, request.url, request.body, request.headers)]
