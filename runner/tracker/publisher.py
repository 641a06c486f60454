"""Publishes results to atlas: one POST with a new token. Any 2xx means that atlas has accepted the result.

A redirect is not followed: it would send the token to another server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from runner.config.types import ResultsSection
from runner.drivers.http.client import HttpClient, HttpResponse, Route
from runner.drivers.http.proxies import proxy_for
from runner.errors import Timeout, Unavailable
from runner.jobs import TokenClaims
from runner.runtime.clock import Clock, Deadline
from runner.runtime.traces import NoTracer, Tracer
from runner.security.masking import MASK, shown
from runner.tracker.results import Result

SILENCE_SECONDS = 10
"""Seconds without a byte from atlas after which the request fails."""

PUBLISH_SECONDS = 13.0
"""Seconds for one attempt: the connection (3 s) and the answer."""

TOKEN_SECONDS = 300
"""Lifetime of a token, in seconds: longer than one attempt, to allow for a difference of the clocks."""

PERMANENT = frozenset({400, 404, 410, 413, 422})
"""Statuses with which atlas refuses a result for good: the body or its run is the reason, and both stay as they are."""

_NO_TRACER: Tracer = NoTracer()

PROXY_LOGIN = 407
"""The proxy's own answer: its login is missing or wrong."""

OUT_OF_ORDER = frozenset({PROXY_LOGIN, 500, 502, 503, 504})
"""Statuses after which no result can be expected to be accepted. 501 only says that a server has no such method."""

ANSWER_CHARACTERS, _ANSWER_BYTES = 300, 16 << 10
"""How much of a refusal's text is kept, and how much of its body is read for that."""


class NotAccepted(Unavailable):
    """atlas has not accepted a result. `status` is None if there was no answer.

    `retry_after` is the answer's Retry-After in seconds, or None. `answer` is for an operator, and not in the detail:
    the status and the beginning of the text, without credentials; by default the detail.
    """

    def __init__(
        self, detail: str, *, status: int | None = None, retry_after: int | None = None, answer: str = ""
    ) -> None:
        super().__init__(detail)
        self.answer = answer or shown(detail)
        self.status = status
        self.retry_after = retry_after

    @property
    def permanent(self) -> bool:
        """Whether atlas will never accept this result. Every other refusal may pass."""
        return self.status in PERMANENT


def route_to_atlas(url: str, section: ResultsSection, environment: Mapping[str, str]) -> Route:
    """The route to `url`, with the configured proxy and CA certificates; by default the environment's proxy."""
    return Route(
        url=url,
        server="atlas",
        trust="results.caFile" if section.ca_file else "the system's CA certificates, or set results.caFile",
        ca_file=section.ca_file,
        proxy=section.proxy or proxy_for(url, environment),
        silence_seconds=SILENCE_SECONDS,
    )


class HttpPublisher:
    """POSTs results along a route, from any number of threads at once. Each attempt gets a new token."""

    def __init__(
        self,
        route: Route,
        sign: Callable[[TokenClaims], str],
        *,
        http: HttpClient,
        clock: Clock,
        tracer: Tracer = _NO_TRACER,
    ) -> None:
        self._route = route
        self._sign = sign
        self._http = http
        self._clock = clock
        self._tracer = tracer

    def __repr__(self) -> str:
        return f"HttpPublisher({self._route.url!r})"

    def publish(self, name: str, result: Result) -> None:
        """See Publisher.publish. Raises NotAccepted if there is no answer, or its status is not 2xx."""
        span = self._tracer.start(
            "publish result", result.traceparent, {"job": name, "result": result.kind}, kind="client"
        )
        failure = "internal"
        try:
            self._publish(name, result, span.traceparent)
            failure = ""
        except NotAccepted as error:
            failure = f"atlas answered {error.status}" if error.status else "no answer"
            raise
        finally:
            span.end(failure)

    def _publish(self, name: str, result: Result, traceparent: str) -> None:
        claims = TokenClaims(scope=result.scope, run_id=result.run_id, job=name, lifetime=TOKEN_SECONDS)
        headers = [f"Authorization: Bearer {self._sign(claims)}", "Content-Type: application/json"]
        if traceparent:
            headers.append(f"traceparent: {traceparent}")
        deadline = Deadline.after(PUBLISH_SECONDS, self._clock)
        body = msgspec.json.encode(result.body)
        url = f"{self._route.url}{result.path}"
        try:
            response = self._http.request(self._route, "POST", result.path, deadline, body=body, headers=headers)
        except (Unavailable, Timeout) as error:
            # The library may quote the proxy's URL, so the cause is left out.
            raise NotAccepted(f"atlas did not answer at {url}: {self._without_login(error.detail)}") from None
        if not 200 <= response.status < 300:
            raise NotAccepted(
                f"atlas answered {response.status} at {url}",
                status=response.status,
                retry_after=response.retry_after,
                answer=_answer(response),
            )

    def check(self, deadline: Deadline) -> None:
        """One GET, without a token and without a result. Raises NotAccepted if atlas cannot be reached, or says so."""
        try:
            status = self._http.request(self._route, "GET", "/", deadline).status
        except (Unavailable, Timeout) as error:
            raise NotAccepted(f"there is no answer: {self._without_login(error.detail)}") from None
        if status in OUT_OF_ORDER:
            where = "the proxy" if status == PROXY_LOGIN else self._route.url
            raise NotAccepted(f"{where} answered {status}; results are kept until atlas accepts them", status=status)

    def _without_login(self, detail: str) -> str:
        """An error's detail without the login of the proxy."""
        for secret in _logins(self._route.proxy):
            detail = detail.replace(secret, MASK)
        return detail


def _answer(response: HttpResponse) -> str:
    """The status, and the text on one line: masked, then cut."""
    text = " ".join(shown(response.body[:_ANSWER_BYTES].decode(errors="replace")).split())
    text = text if len(text) <= ANSWER_CHARACTERS else f"{text[: ANSWER_CHARACTERS - 1]}…"
    return f"{response.status}: {text}" if text else str(response.status)


def _logins(proxy: str) -> list[str]:
    """What of a proxy's URL must not be logged, the longest first."""
    if "@" not in proxy:
        return []
    login = proxy.rpartition("@")[0].rpartition("://")[2]
    password = login.partition(":")[2]
    return sorted({login, unquote(login), password, unquote(password)} - {""}, key=len, reverse=True)
