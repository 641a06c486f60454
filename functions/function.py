"""What all functions share, whichever protocol brings the request: check the caller, decode, hand over."""

from __future__ import annotations

import time
from typing import ClassVar

from functions import bearer
from runner import payloads
from runner.client import Client
from runner.jobs import Placed

DEADLINE_SECONDS = 10.0
"""From the request's arrival to its answer. atlas gets an answer within 15 s whatever happens."""


class Function:
    """One request type. Subclasses say which, what it is decoded into, and where HTTP clients find it."""

    request_type: ClassVar[str]
    payload: ClassVar[type[payloads.Request]]
    paths: ClassVar[tuple[str, ...]]

    def __init__(self, client: Client) -> None:
        self._client = client

    def authenticate(self, authorization: str, deadline: float) -> None:
        """Raises Unauthenticated or Forbidden unless the bearer token is atlas's, for this runner."""
        bearer.verify(authorization, self._client.terms(deadline), time.time())

    def accept(self, body: bytes, deadline: float, trace_id: str) -> tuple[Placed, ...]:
        """Have the request in `body` carried out; every job it asks for exists once this returns."""
        request = payloads.decode(body, self.payload, self._client.terms(deadline))
        return self._client.submit(self.request_type, request, deadline, trace_id)
