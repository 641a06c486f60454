"""The WSGI application: a Falcon resource for each function, errors as problem+json, health checks, the OpenAPI file.

It checks the token before it reads the body, which `functions.http.admission` bounds.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import falcon
import msgspec

from functions.function import DEADLINE_SECONDS, Function, request_id
from functions.http.openapi.resource import OpenApi
from functions.http.problem import CODE, CODES, MEDIA, REQUEST_TYPE, problem
from runner.errors import TABLE, Internal, OrchestratorError, UnsupportedMediaType
from runner.request_types import RequestType
from runner.runtime.clock import Clock, SystemClock
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
        req.env[REQUEST_TYPE] = self._function.request_type
        deadline = self._clock.monotonic() + DEADLINE_SECONDS
        self._function.authenticate(req.get_header("Authorization", default=""), deadline)
        _refuse_other_media(req)
        traceparent = req.get_header("traceparent", default="")
        jobs = self._function.accept(req.stream.read(), deadline, req.context.request_id, traceparent)
        created = any(job.state == "created" for job in jobs)
        resp.status = falcon.HTTP_201 if created else falcon.HTTP_200
        resp.data = msgspec.json.encode({"jobs": jobs})


class Liveness:
    """GET: this process runs. Checks nothing else, so that a failing sidecar does not get the function restarted."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        resp.data = b'{"status":"ok"}'

    on_head = on_get


class Readiness:
    """GET: a request sent now can be served."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the drivers that are ready, else the error that a request would get."""
        pong = self._client.ping(self._clock.monotonic() + READY_SECONDS)
        resp.data = msgspec.json.encode({"status": "ok", "drivers": pong.drivers})

    on_head = on_get


class RequestId:
    """Gives each request an id: the caller's own if it is valid, else a new one."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Runs first, so that every answer has the id."""
        req.context.request_id = request_id(req.get_header("X-Request-ID", default=""))
        resp.set_header("X-Request-ID", req.context.request_id)
        if "//" in req.path:  # Falcon's router would find "/tasks/analysis" under "//tasks/analysis"
            raise falcon.HTTPNotFound


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
    coding = req.get_header("Content-Encoding", default="identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType(f"the body is encoded as {coding[:80]!r}; send it without Content-Encoding")
    if req.content_length is None and not req.get_header("Transfer-Encoding"):
        raise falcon.HTTPLengthRequired(description="the request has neither Content-Length nor chunks; send one")


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
    code, title = CODES.get(status, CODES[400])
    detail = error.description or f"{req.method} {req.path[:256]} is not served; see docs/http.md"
    _write_problem(req, resp, status, code, title, detail, ())


def _write_problem(
    req: falcon.Request, resp: falcon.Response, status: int, code: str, title: str, detail: str, problems: Any
) -> None:
    req.env[CODE] = code
    resp.content_type = MEDIA
    resp.data = problem(status, code, title, detail, req.context.request_id, problems)
