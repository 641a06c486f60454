"""What all functions share, over every protocol: check the bearer token, decode the request, submit it."""

from __future__ import annotations

import re
import uuid
from typing import ClassVar

from functions import bearer
from runner import payloads
from runner.jobs import JobResult
from runner.runtime.clock import Clock
from runner.sidecar.client import Client

DEADLINE_SECONDS = 10.0
"""From the request's arrival to its answer. atlas waits for 15 s."""

_REQUEST_ID = re.compile(r"\A[A-Za-z0-9._-]{1,128}\Z")


def request_id(given: str) -> str:
    """The request id that the caller gave if it is valid, else a new one."""
    return given if _REQUEST_ID.match(given) else uuid.uuid4().hex


class Function:
    """One request type. Subclasses set its name, its payload type and its HTTP paths."""

    request_type: ClassVar[str]
    payload: ClassVar[type[payloads.Request]]
    paths: ClassVar[tuple[str, ...]]

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def authenticate(self, authorization: str, deadline: float) -> None:
        """Raises Unauthenticated or Forbidden unless the bearer token is from atlas and for this runner."""
        bearer.verify(authorization, self._client.policy(deadline), self._clock.wall())

    @classmethod
    def decode(cls, body: bytes, policy: payloads.RequestPolicy) -> payloads.Request:
        """The request in `body`. Raises TooLarge, Malformed, or Invalid with all bad fields."""
        request: payloads.Request = payloads.decode(body, cls.payload, policy)
        return request

    def accept(self, body: bytes, deadline: float, trace_id: str) -> tuple[JobResult, ...]:
        """Submit the request in `body`. When this returns, every job of the request exists."""
        request = self.decode(body, self._client.policy(deadline))
        return self._client.submit(self.request_type, request, deadline, trace_id)
