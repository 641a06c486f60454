"""What is refused before the application is called: gunicorn's errors, and slow clients."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

from functions.http.client_socket import ClientSocket, TooSlow
from functions.http.problem import CODES, MEDIA, problem
from functions.refusals import RefusalLog
from functions.request_metrics import RequestMetrics

log = logging.getLogger("orchestrator.http")


STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (TooSlow, 408, "the request's head did not arrive within 10 s; send it again on a new connection"),
    (errors.LimitRequestLine, 414, "the request line is too long; docs/http.md has every path"),
    (errors.LimitRequestHeaders, 431, "the headers are too many or too large; send fewer"),
    (errors.ExpectationFailed, 417, "the header Expect may only be 100-continue"),
    (errors.UnsupportedTransferCoding, 501, "the header Transfer-Encoding may only be chunked"),
    # An application's own header, which is internal here, is one of the next line's errors as well.
    (errors.InvalidResponseHeader, 500, ""),
    (errors.InvalidResponseHeaderName, 500, ""),
    (errors.ParseException, 400, ""),
)
"""The first row counts. Without a detail it is made of the error."""


def answer_of(error: BaseException, request_id: str) -> tuple[int, str]:
    """The status and the detail."""
    for kind, status, detail in STATUS:
        if isinstance(error, kind) and status != HTTPStatus.INTERNAL_SERVER_ERROR:
            return status, detail or f"{str(error)[:200]}; send a valid request"
    return 500, f"internal error; it is logged under request id {request_id}"


def refuse(
    error: BaseException,
    request: Any,
    client: ClientSocket,
    address: Any,
    refusals: RefusalLog,
    metrics: RequestMetrics,
) -> None:
    """Answer on the client's socket, write the log line, and count it."""
    request_id = uuid.uuid4().hex
    status, detail = answer_of(error, request_id)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed with an internal error", exc_info=error, extra={"request_id": request_id})
    code, title = CODES[status]
    body = problem(status, code, title, detail, request_id)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {MEDIA}\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\nConnection: close\r\n\r\n"
    )
    with suppress(OSError):  # the client has gone
        client.sendall(head.encode() + body)
    refusals.write(
        request_id=request_id, path=request.path if request is not None else "", status=status, code=code,
        arrived=client.arrived, peer=f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address),
    )  # fmt: skip
    metrics.answered("", code, max(0.0, refusals.now() - client.arrived))
