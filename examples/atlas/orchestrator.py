"""Sending a task to the Orchestrator: until a 2xx, since only that is its promise of a job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

PATHS = {
    "analysis": "/tasks/analysis",
    "autofix": "/tasks/autofix",
    "transformer": "/tasks/transformer",
    "ssh-verify": "/tasks/ssh-verify",
    "cancel-check": "/tasks/cancel-check",
    "commit": "/tasks/commit",
}

ANSWER_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two sendings; doubled each time, or as long as Retry-After says."""

Answer = tuple[int, dict[str, str], bytes]


class NotAccepted(Exception):
    """The Orchestrator refused for good, or patience ran out. Says why."""


class Orchestrator:
    """Where tasks go. `sign` makes the token of each sending."""

    def __init__(
        self,
        url: str,
        sign: Callable[[], str],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._sign = sign
        self._pause = pause

    def __repr__(self) -> str:
        return f"Orchestrator({self._url})"

    def send(
        self,
        kind: str,
        payload: dict[str, Any],
        patience: float,
        repeating: Callable[[str, float], None],
    ) -> list[dict[str, str]]:
        """The jobs that were promised: name, driver and state of each.

        `repeating` is told why the task is sent again, and in how many seconds. Raises NotAccepted
        for an answer that will never be another, and after `patience` seconds.
        """
        end, backoff = time.monotonic() + patience, FIRST_PAUSE
        while True:
            reason, seconds = "", backoff
            try:
                status, headers, body = self._post(PATHS[kind], json.dumps(payload).encode())
            except (OSError, HTTPException) as error:
                reason = f"{self._url} cannot be reached: {error}"
            else:
                if 200 <= status < 300:
                    return list(json.loads(body)["jobs"])
                reason = f"{self._url} answered {status}: {_detail(body)}"
                if status < 500 and status != 429:
                    raise NotAccepted(reason)
                seconds = _retry_after(headers) or backoff
            if time.monotonic() + seconds > end:
                raise NotAccepted(f"not accepted within {patience:.0f} s; the last time {reason}")
            repeating(reason, seconds)
            self._pause(seconds)
            backoff = min(backoff * 2, LONGEST_PAUSE)

    def _post(self, path: str, body: bytes) -> Answer:
        parts = urlsplit(self._url)
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = connect(parts.netloc, timeout=ANSWER_SECONDS)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._sign()}"}
        try:
            connection.request("POST", f"{parts.path}{path}", body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers.items()), answer.read()
        finally:
            connection.close()


def _detail(body: bytes) -> str:
    """The problem in a person's words (RFC 9457), or the beginning of whatever it is."""
    try:
        problem = json.loads(body)
        found = [f"{each['pointer']} {each['message']}" for each in problem.get("errors", ())]
        return "; ".join(found) or str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace")


def _retry_after(headers: dict[str, str]) -> float:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
