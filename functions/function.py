"""What all functions share, over every protocol: check the bearer token, decode the request, submit it."""

from __future__ import annotations

import re
import uuid

from functions import bearer
from runner import payloads
from runner.jobs import JobResult
from runner.request_types import RequestType
from runner.runtime import traces
from runner.runtime.clock import Clock
from runner.sidecar.client import Client

DEADLINE_SECONDS = 10.0
"""From the request's arrival to its answer. atlas waits for 15 s."""

_REQUEST_ID = re.compile(r"\A[A-Za-z0-9._-]{1,128}\Z")


def request_id(given: str) -> str:
    """The request id that the caller gave if it is valid, else a new one."""
    return given if _REQUEST_ID.match(given) else uuid.uuid4().hex


class Function:
    """One request type, before one sidecar."""

    def __init__(self, request_type: RequestType, client: Client, clock: Clock) -> None:
        self.request_type = request_type.name
        self._type = request_type
        self._client = client
        self._clock = clock

    def __repr__(self) -> str:
        return f"Function({self._type.name}, {self._client})"

    def authenticate(self, authorization: str, deadline: float) -> None:
        """Raises Unauthenticated or Forbidden unless the bearer token is from atlas and for this runner."""
        bearer.verify(authorization, self._client.policy(deadline), self._clock.wall())

    def accept(self, body: bytes, deadline: float, trace_id: str, traceparent: object = "") -> tuple[JobResult, ...]:
        """Submit the request in `body`. When this returns, every job of the request exists.

        `traceparent` is what the caller sent as such; what is none is left out.

        Raises TooLarge, Malformed, Invalid with all bad fields, or what the runner refuses it with.
        """
        request = payloads.decode(body, self._type.payload, self._client.policy(deadline))
        return self._client.submit(self._type.name, request, deadline, trace_id, traces.traceparent(traceparent))
