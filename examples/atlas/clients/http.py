"""Sending a task over HTTP: repeated until a 2xx."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import requests

from examples.atlas.clients.retry import Jobs, NotAccepted, OnRetry, Retryable, repeat
from examples.atlas.request_types import REQUEST_TYPES

ANSWER_SECONDS = 15.0


class HttpClient:
    """Sends to the Orchestrator at `url`. `sign` makes a fresh token for each attempt."""

    def __init__(self, url: str, sign: Callable[[], str], sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = url.rstrip("/")
        self._sign = sign
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"HttpClient({self._url})"

    def send(self, name: str, payload: dict[str, Any], timeout: float, on_retry: OnRetry) -> Jobs:
        """The promised jobs. Raises NotAccepted for a final refusal, and after `timeout` seconds."""
        url = f"{self._url}{REQUEST_TYPES[name].path}"
        return repeat(lambda: self._post(url, payload), timeout, on_retry, self._sleep)

    def _post(self, url: str, payload: dict[str, Any]) -> Jobs:
        body = json.dumps(payload).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._sign()}"}
        with requests.Session() as session:
            session.trust_env = False  # a password in ~/.netrc would replace the token
            try:
                answer = session.post(url, data=body, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False)
            except requests.RequestException as error:
                raise Retryable(f"{self._url} cannot be reached: {error}") from error
        if 200 <= answer.status_code < 300:
            return list(answer.json()["jobs"])
        reason = f"{self._url} answered {answer.status_code}: {_detail(answer.content)}"
        if answer.status_code < 500 and answer.status_code != 429:
            raise NotAccepted(reason)
        raise Retryable(reason, _retry_after(answer))


def _detail(body: bytes) -> str:
    """What the problem document says (RFC 9457), or the first bytes of any other body."""
    try:
        problem = json.loads(body)
        found = [f"{each['pointer']} {each['message']}" for each in problem.get("errors", ())]
        return "; ".join(found) or str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace")


def _retry_after(answer: requests.Response) -> float:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
