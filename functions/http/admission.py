"""A WSGI middleware: bodies are read whole within bounds, and a slot is held while the runner works on a request.

    head ─▶ application: token, headers ─▶ body, whole (deadline, byte budget) ─▶ slot ─▶ runner ─▶ slot back ─▶ answer

The application reads the body by `wsgi.input.read()`, once, after it has checked the token. A client that sends slowly
or does not receive its answer holds no slot. Requests whose body is not read, such as health checks, need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gevent.lock import Semaphore

from functions.byte_budget import ByteBudget
from functions.function import DEADLINE_SECONDS
from functions.http.problem import CODE, REQUEST_TYPE
from functions.refusals import RefusalLog
from functions.request_metrics import of_process
from runner.errors import Busy, Malformed, OrchestratorError, Timeout, TooLarge
from runner.payloads import MAX_BODY
from runner.runtime.clock import Clock, Deadline
from runner.runtime.metrics.labels import ACCEPTED

MAX_ARRIVING = 64 * 1024 * 1024
"""Bytes of the bodies that a worker is receiving."""

MAX_WAITING = 64 * 1024 * 1024
"""Bytes of the bodies that have arrived and wait for a slot."""

HEALTH = ("/livez", "/readyz")

_PIECE = 65536


class Admission:
    """The application with the bounds. `slots` is the number of requests that the runner works on at once.

    `environ` says where this process records its metrics.
    """

    def __init__(self, app: Any, slots: int, clock: Clock, refusals: RefusalLog, environ: Mapping[str, str]) -> None:
        self._app = app
        self.slots = Semaphore(slots)
        self.budget = ByteBudget(MAX_ARRIVING)
        self.waiting = 0
        self.clock = clock
        self._refusals = refusals
        self.metrics = of_process("http", environ)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """One request."""
        arrived = self.clock.monotonic()
        body = environ["wsgi.input"] = RequestBody(environ, self, Deadline(arrived + DEADLINE_SECONDS, self.clock))

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            if status >= "400":
                self._log(environ, status, headers, arrived)
            self._count(environ, status, arrived)
            return start_response(status, headers, *more)

        try:
            return self._app(environ, start)
        finally:
            body.give_back_slot()

    def _count(self, environ: dict[str, Any], status: str, arrived: float) -> None:
        """Count it, unless it is a health check or asks for the OpenAPI file."""
        request_type = environ.get(REQUEST_TYPE, "")
        if request_type or (status >= "400" and environ.get("PATH_INFO") not in HEALTH):
            self.metrics.answered(request_type, environ.get(CODE, ACCEPTED), self.clock.monotonic() - arrived)

    def _log(self, environ: dict[str, Any], status: str, headers: list[tuple[str, str]], arrived: float) -> None:
        named = {name.lower(): value for name, value in headers}
        self._refusals.write(
            request_id=named.get("x-request-id", ""), path=environ.get("PATH_INFO", ""), status=int(status[:3]),
            code=environ.get(CODE, ""), arrived=arrived,
            peer=f"{environ.get('REMOTE_ADDR', '')}:{environ.get('REMOTE_PORT', '')}",
        )  # fmt: skip


class RequestBody:
    """The body of one request, and its slot."""

    def __init__(self, environ: dict[str, Any], admission: Admission, deadline: Deadline) -> None:
        self._environ = environ
        self._source = environ["wsgi.input"]
        self._connection = environ["gunicorn.socket"]
        self._admission = admission
        self._deadline = deadline
        self._has_slot = False

    def read(self) -> bytes:
        """The whole body, once a slot is free.

        Raises TooLarge, Malformed if it ends early, Timeout if it is too slow, Busy if there is no capacity.
        """
        try:
            body = self._receive()
            self._take_slot(len(body))
        except OrchestratorError:
            self._connection.close_after_answer()
            raise
        return body

    def refuse(self) -> None:
        """See Holder. The byte budget is used up: end the connection."""
        self._connection.end()

    def give_back_slot(self) -> None:
        """Release the slot, if the request has one."""
        if self._has_slot:
            self._has_slot = False
            self._admission.slots.release()

    def _receive(self) -> bytes:
        declared = self._environ.get("CONTENT_LENGTH")
        length = int(declared) if declared else None
        if length is not None and length > MAX_BODY:
            raise TooLarge(f"the body has {length} bytes; {MAX_BODY} are accepted; send a smaller request")
        self._connection.set_deadline(self._deadline.left)
        first = self._piece()
        if len(first) == length:  # most bodies arrive with their head
            self._connection.clear_deadline()
            return first
        received = bytearray(first)
        try:
            self._admission.budget.add(self, len(first))
            while len(received) != length and (piece := self._piece()):
                received += piece
                if len(received) > MAX_BODY:
                    raise TooLarge(f"the body has more than {MAX_BODY} bytes; send a smaller request")
                self._admission.budget.add(self, len(piece))
        finally:
            self._admission.budget.release(self)
        if length is not None and len(received) < length:
            raise self._cut_off(f"the body ended after {len(received)} of {length} bytes; send all of it")
        self._connection.clear_deadline()
        return bytes(received)

    def _piece(self) -> bytes:
        try:
            piece: bytes = self._source.read(_PIECE)
        except Exception as error:  # it was ended, the connection is broken, or one of the errors of gunicorn's parser
            raise self._cut_off("the body could not be read to its end; send it whole, as RFC 9112 has it") from error
        return piece

    def _cut_off(self, detail: str) -> OrchestratorError:
        if self._deadline.left <= 0:
            return Timeout(f"the body did not arrive within {DEADLINE_SECONDS:.0f} s; repeat the request")
        if self._connection.ended:
            return Busy("the server has no room for slow requests at the moment; repeat the request")
        return Malformed(detail)

    def _take_slot(self, size: int) -> None:
        admission = self._admission
        if admission.waiting + size > MAX_WAITING:
            raise Busy("too many large requests are waiting; repeat the request")
        admission.waiting += size
        try:
            self._has_slot = admission.slots.acquire(timeout=max(self._deadline.left, 0))
        finally:
            admission.waiting -= size
        if not self._has_slot:
            raise Busy(f"every slot has been taken for {DEADLINE_SECONDS:.0f} s; repeat the request")
