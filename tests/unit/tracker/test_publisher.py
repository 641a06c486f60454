"""runner.tracker.publisher: one POST to atlas with a new token, and what a refusal means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest

from runner.config.types import ResultsSection
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.curl import CurlHttpClient
from runner.errors import Timeout, Unavailable
from runner.runtime.clock import Deadline, SystemClock
from runner.security.tokens import Signer
from runner.tracker.publisher import (
    ANSWER_CHARACTERS,
    PUBLISH_SECONDS,
    SILENCE_SECONDS,
    HttpPublisher,
    NotAccepted,
    route_to_atlas,
)
from runner.tracker.results import Result
from tests.conftest import KeyPair
from tests.harness.clock import ManualClock
from tests.harness.scripted_server import Conversation, ScriptedServer, scripted_server

PATH = "/api/runner/analysis/results"


def result(number: int = 1) -> Result:
    return Result(
        id=str(number), kind="end", path=PATH, scope="analysis.*", run_id=f"r-{number}", body={"id": str(number)}
    )


class Answering:
    """An HTTP client that gives one answer, or raises."""

    def __init__(self, answer: HttpResponse | Exception) -> None:
        self._answer = answer

    def request(self, *given: Any, **more: Any) -> HttpResponse:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def stream(self, *given: Any, **more: Any) -> HttpResponse:
        raise NotImplementedError


@pytest.fixture
def signer(runner_keys: KeyPair) -> Signer:
    return Signer(runner_keys.private, "runner-1", lambda: 1_700_000_000)


def refusal(signer: Signer, answer: HttpResponse | Exception, proxy: str = "") -> NotAccepted:
    route = route_to_atlas("https://atlas.example", ResultsSection(proxy=proxy), {})
    publisher = HttpPublisher(route, signer.sign, http=Answering(answer), clock=ManualClock())
    with pytest.raises(NotAccepted) as caught:
        publisher.publish("job-1", result())
    return caught.value


PERMANENT, MAY_PASS = {400, 404, 410, 413, 422}, {429, 500, 501, 502, 503, 504, 599}


@pytest.mark.parametrize(
    "status",
    [100, 199, 300, 301, 302, 307, 308, 401, 402, 403, 405, 407, 408, 409, 425, 451, *PERMANENT, *MAY_PASS],
)
def test_what_a_status_means(signer: Signer, status: int) -> None:
    error = refusal(signer, HttpResponse(status=status, body=b"secret", retry_after=7))
    assert (error.status, error.permanent) == (status, status in PERMANENT)
    assert error.retry_after == 7
    assert error.detail == f"atlas answered {status} at https://atlas.example{PATH}"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"", "422"),
        (b'{"detail":\n "there is no run r-1"}', '422: {"detail": "there is no run r-1"}'),
        (b"see https://bot:hunter2@atlas.example/x", "422: see https://***@atlas.example/x"),
        (b"\xff\x1b[31mno", "422: \ufffd\ufffd[31mno"),
        (b"x" * 100_000, "422: " + "x" * (ANSWER_CHARACTERS - 1) + "…"),
    ],
)
def test_the_answer_is_kept_without_credentials_and_is_bounded(signer: Signer, body: bytes, answer: str) -> None:
    assert refusal(signer, HttpResponse(status=422, body=body)).answer == answer


def test_without_an_answer_the_reason_for_that_is_kept(signer: Signer) -> None:
    assert "no route" in refusal(signer, Unavailable("no route")).answer


@pytest.mark.parametrize("problem", [Unavailable("no route"), Unsettled("reset"), Timeout("the deadline passed")])
def test_no_answer_may_pass(signer: Signer, problem: Exception) -> None:
    error = refusal(signer, problem)
    assert (error.status, error.retry_after, error.permanent) == (None, None, False)
    assert f"atlas did not answer at https://atlas.example{PATH}: " in error.detail


def test_without_retry_after_there_is_none(signer: Signer) -> None:
    assert refusal(signer, HttpResponse(status=429, body=b"")).retry_after is None


@pytest.mark.parametrize(
    "proxy",
    [
        "http://bot:hunter2@proxy:3128",
        "bot:hunter2@proxy:3128",
        "http://bot:hun/ter2@p%ss@proxy",
        "http://hunter2@proxy",
    ],
)
def test_the_login_of_a_proxy_is_in_no_error_and_no_repr(signer: Signer, proxy: str) -> None:
    login = proxy.removeprefix("http://").rpartition("@")[0]
    error = refusal(signer, Unavailable(f"bad proxy '{proxy}', login {login.rpartition(':')[2]}"), proxy)
    route = route_to_atlas("https://atlas.example", ResultsSection(proxy=proxy), {})
    for text in (error.detail, repr(error), repr(route), repr(error.__cause__)):
        assert login not in text
        assert login.rpartition(":")[2] not in text


def test_the_real_client_quotes_no_login_of_a_proxy_that_it_cannot_parse(signer: Signer) -> None:
    route = route_to_atlas("http://127.0.0.1:1", ResultsSection(proxy="http://bot:hun ter2@[::::]:x"), {})
    publisher = HttpPublisher(route, signer.sign, http=CurlHttpClient(SystemClock()), clock=SystemClock())
    with pytest.raises(NotAccepted) as caught:
        publisher.publish("job-1", result())
    assert "hun ter2" not in caught.value.detail


ROUTES: list[tuple[dict[str, str], dict[str, str], str]] = [
    ({}, {}, ""),
    ({"proxy": "http://configured"}, {"HTTPS_PROXY": "http://other", "NO_PROXY": "*"}, "http://configured"),
    ({}, {"HTTPS_PROXY": "http://other", "HTTP_PROXY": "http://no"}, "http://other"),
    ({}, {"HTTPS_PROXY": "http://other", "NO_PROXY": ".example"}, ""),
]


@pytest.mark.parametrize(("section", "environment", "proxy"), ROUTES)
def test_the_configured_proxy_comes_before_the_environment_s(
    section: dict[str, str], environment: dict[str, str], proxy: str
) -> None:
    assert route_to_atlas("https://atlas.example", ResultsSection(**section), environment).proxy == proxy


def test_the_configured_ca_file_is_used_and_named() -> None:
    route = route_to_atlas("https://atlas.example", ResultsSection(ca_file="/etc/ca.pem"), {})
    assert (route.ca_file, route.trust) == ("/etc/ca.pem", "results.caFile")
    assert "results.caFile" in route_to_atlas("https://atlas.example", ResultsSection(), {}).trust


class Atlas:
    """A server that gives each request the present status."""

    def __init__(self) -> None:
        self.status = 200

    def __call__(self, conversation: Conversation) -> None:
        while True:
            conversation.receive()
            conversation.answer(self.status, headers={"Location": "/elsewhere", "Retry-After": "9"})


@pytest.fixture
def atlas() -> Atlas:
    return Atlas()


@pytest.fixture
def server(atlas: Atlas) -> Iterator[ScriptedServer]:
    with scripted_server(atlas) as server:
        yield server


def to(server: ScriptedServer, signer: Signer, proxy: str = "") -> HttpPublisher:
    clock, section = SystemClock(), ResultsSection(proxy=proxy)
    return HttpPublisher(route_to_atlas(server.url, section, {}), signer.sign, http=CurlHttpClient(clock), clock=clock)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(
    atlas: Atlas, server: ScriptedServer, signer: Signer, runner_keys: KeyPair, status: int
) -> None:
    atlas.status = status
    to(server, signer).publish("job-1", result())

    (request,) = server.asked
    assert (request.method, request.path, json.loads(request.body)) == ("POST", PATH, {"id": "1"})
    token = request.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, runner_keys.public, algorithms=["RS256"], options={"verify_exp": False})
    assert (claims["run_id"], claims["scp"], claims["iss"]) == ("r-1", "analysis.*", "runner-1")


def test_a_redirect_is_not_followed(atlas: Atlas, server: ScriptedServer, signer: Signer) -> None:
    atlas.status = 302
    with pytest.raises(NotAccepted, match="302"):
        to(server, signer).publish("job-1", result())
    assert len(server.asked) == 1, "a redirect was followed, with the token"


def test_atlas_s_retry_after_is_passed_on(atlas: Atlas, server: ScriptedServer, signer: Signer) -> None:
    atlas.status = 429
    with pytest.raises(NotAccepted) as caught:
        to(server, signer).publish("job-1", result())
    assert caught.value.retry_after == 9


def test_a_result_goes_through_the_proxy(server: ScriptedServer, signer: Signer) -> None:
    def proxy(conversation: Conversation) -> None:
        conversation.receive()
        conversation.answer(202)

    with scripted_server(proxy) as middle:
        to(server, signer, middle.url.replace("://", "://bot:hunter2@")).publish("job-1", result())
        (request,) = middle.asked
    assert request.path == f"{server.url}{PATH}"
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert server.asked == []


def test_a_refused_connection_is_no_answer(signer: Signer) -> None:
    route = route_to_atlas("http://127.0.0.1:1", ResultsSection(), {})
    with pytest.raises(NotAccepted, match="did not answer"):
        HttpPublisher(route, signer.sign, http=CurlHttpClient(SystemClock()), clock=SystemClock()).publish(
            "j", result()
        )


def test_results_are_sent_from_16_threads_at_once_over_kept_connections(
    server: ScriptedServer, signer: Signer, runner_keys: KeyPair
) -> None:
    publisher = to(server, signer)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: publisher.publish(f"job-{number}", result(number)), range(160)))
    assert sorted(int(json.loads(request.body)["id"]) for request in server.asked) == list(range(160))
    for request in server.asked:  # no token of one is sent with another
        token = request.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, runner_keys.public, algorithms=["RS256"], options={"verify_exp": False})
        assert claims["run_id"] == f"r-{json.loads(request.body)['id']}"
    assert server.connections <= 16


def test_an_attempt_has_one_deadline_and_a_new_token(signer: Signer) -> None:
    """An atlas that sends a byte now and then would otherwise block a publisher without limit."""
    clock, attempts = ManualClock(), []

    class Silent(Answering):
        def request(self, route: Route, method: str, path: str, deadline: Deadline, **given: Any) -> HttpResponse:
            attempts.append((method, route.url + path, given["headers"][0]))
            assert (deadline.left, route.silence_seconds) == (PUBLISH_SECONDS, SILENCE_SECONDS)
            clock.advance(deadline.left)
            raise Unsettled("atlas did not answer")

    route = route_to_atlas("https://atlas.example", ResultsSection(), {})
    publisher = HttpPublisher(route, signer.sign, http=Silent(Unsettled("")), clock=clock)
    for _ in range(2):
        with pytest.raises(NotAccepted, match=r"did not answer at https://atlas\.example/api"):
            publisher.publish("job-1", result())
    (first, second) = attempts
    assert first[:2] == second[:2] == ("POST", f"https://atlas.example{PATH}")
    assert first[2] != second[2]
