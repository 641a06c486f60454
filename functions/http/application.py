"""The WSGI application: a Falcon resource for each function, errors as problem+json (RFC 9457), two health checks, the
OpenAPI document.

A WSGI server leaves three things to the application, which are done here: to bound a body's size, to read a chunked
body, and to refuse a body that arrives too slowly.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import falcon
import msgspec

from functions import ARRIVED
from functions.function import DEADLINE_SECONDS, Function, request_id
from functions.http.openapi.resource import OpenApi
from runner.errors import TABLE, Busy, Internal, Malformed, OrchestratorError, Timeout, TooLarge, UnsupportedMediaType
from runner.payloads import MAX_BODY
from runner.request_types import RequestType
from runner.runtime.clock import Clock, Deadline, SystemClock
from runner.runtime.struct_types import learn_struct_types
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE, Client

log = logging.getLogger("orchestrator.http")

READY_SECONDS = 3.0
"""For the sidecar to answer a readiness probe."""

_PREFIX = "/apps/{app_id}"


class TaskResource:
    """POST: 201 if a job was created, 200 if all jobs existed already."""

    def __init__(self, function: Function, clock: Clock) -> None:
        self._function = function
        self._clock = clock

    def on_post(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        """Answer one request."""
        arrived = req.env.get(ARRIVED, self._clock.monotonic())
        deadline = Deadline(arrived + DEADLINE_SECONDS, self._clock)
        if deadline.left < 0:
            raise Busy(f"every worker has been busy for {DEADLINE_SECONDS:.0f} s; repeat the request")
        self._function.authenticate(req.get_header("Authorization", default=""), deadline.at)
        _refuse_other_media(req)
        jobs = self._function.accept(_body(req, deadline), deadline.at, req.context.request_id)
        created = any(job.state == "created" for job in jobs)
        resp.status = falcon.HTTP_201 if created else falcon.HTTP_200
        resp.data = msgspec.json.encode({"jobs": jobs})


class Liveness:
    """GET: this process runs. Checks nothing else, so that a failing sidecar does not get the function restarted."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        resp.data = b'{"status":"ok"}'


class Readiness:
    """GET: a request sent now can be served."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the drivers that are ready, else the error that a request would get."""
        pong = self._client.ping(self._clock.monotonic() + READY_SECONDS)
        resp.data = msgspec.json.encode({"status": "ok", "drivers": pong.drivers})


class RequestId:
    """Gives each request an id: the caller's own if it is valid, else a new one."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Runs first, so that every answer has the id."""
        req.context.request_id = request_id(req.get_header("X-Request-ID", default=""))
        resp.set_header("X-Request-ID", req.context.request_id)


def application(*rows: RequestType) -> falcon.App[Any, Any]:
    """A WSGI application of these request types' functions, with /livez and /readyz. The root of its process."""
    clock = SystemClock()
    client = Client(os.environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET), clock)
    app = falcon.App(middleware=[RequestId()])
    for row in rows:
        resource = TaskResource(Function(row, client, clock), clock)
        for path in row.paths:
            app.add_route(path, resource)
            app.add_route(_PREFIX + path, resource)
    app.add_route("/livez", Liveness())
    app.add_route("/readyz", Readiness(client, clock))
    app.add_route("/openapi.json", OpenApi(rows))
    app.add_error_handler(OrchestratorError, _answer_error)
    app.add_error_handler(Exception, _answer_defect)
    app.set_error_serializer(_serialize_http_error)
    learn_struct_types()
    return app


def _refuse_other_media(req: falcon.Request) -> None:
    media = (req.content_type or "application/json").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise UnsupportedMediaType(f"the body is declared as {media[:80]!r}; send application/json")


def _body(req: falcon.Request, deadline: Deadline) -> bytes:
    """The whole body, chunked or not. Raises TooLarge, Malformed if it ends early, Timeout if it is too slow."""
    length = req.content_length
    if length is not None and length > MAX_BODY:
        raise TooLarge(f"the body has {length} bytes; {MAX_BODY} are accepted; send a smaller request")
    # Falcon reads nothing of a body without Content-Length. gunicorn ends a chunked body and sets this flag.
    chunked = length is None and req.env.get("wsgi.input_terminated")
    body = _read(req, req.stream if chunked else req.bounded_stream, deadline)
    if length is not None and len(body) < length:
        raise _cut_off(f"the body ended after {len(body)} of {length} bytes", deadline)
    return body


def _read(req: falcon.Request, stream: Any, deadline: Deadline) -> bytes:
    connection = req.env.get("gunicorn.socket")
    received = bytearray()
    while chunk := _chunk(stream, connection, deadline):
        received += chunk
        if len(received) > MAX_BODY:
            raise TooLarge(f"the body has more than {MAX_BODY} bytes; send a smaller request")
    return bytes(received)


def _chunk(stream: Any, connection: Any, deadline: Deadline) -> bytes:
    if connection is not None:
        connection.settimeout(max(deadline.left, 0.001))
    try:
        chunk: bytes = stream.read(65536)
    except Exception as error:  # a timeout, a broken connection, or one of the errors of gunicorn's parser
        raise _cut_off("the body could not be read to its end", deadline) from error
    return chunk


def _cut_off(detail: str, deadline: Deadline) -> OrchestratorError:
    """The error for half a body. `functions.http.worker` ends a connection whose body is too slow."""
    if deadline.left > 0:
        return Malformed(detail)
    return Timeout(f"the body did not arrive within {DEADLINE_SECONDS:.0f} s; repeat the request")


def _answer_error(req: falcon.Request, resp: falcon.Response, error: OrchestratorError, _params: Any) -> None:
    row = TABLE[error.code]
    resp.status = falcon.code_to_http_status(row.http)
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    if error.code == "unauthenticated":
        resp.set_header("WWW-Authenticate", "Bearer")
    _write_problem(req, resp, row.http, error.code, row.title, error.detail, error.problems)


def _answer_defect(req: falcon.Request, resp: falcon.Response, error: Exception, params: Any) -> None:
    log.error("a request failed with an internal error", exc_info=error, extra={"request_id": req.context.request_id})
    defect = Internal(f"internal error; it is logged under request id {req.context.request_id}")
    _answer_error(req, resp, defect, params)


def _serialize_http_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Falcon's own errors (unknown path, wrong method) in the same format."""
    status = falcon.http_status_to_code(error.status)
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "malformed")
    detail = error.description or f"{req.method} {req.path} is not served; see docs/http.md"
    _write_problem(req, resp, status, code, error.title or "", detail, ())


def _write_problem(
    req: falcon.Request, resp: falcon.Response, status: int, code: str, title: str, detail: str, problems: Any
) -> None:
    problem = {
        "type": f"urn:orchestrator:error:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": req.context.request_id,
    }
    resp.content_type = "application/problem+json"
    resp.data = msgspec.json.encode(problem | ({"errors": problems} if problems else {}))
