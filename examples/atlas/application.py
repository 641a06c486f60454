"""The WSGI application of atlas: endpoints for results and snippets, the runs as JSON, and the page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import falcon
import msgspec

from examples.atlas import page
from examples.atlas.request_types import REQUEST_TYPES, RequestType
from examples.atlas.runs import Runs
from examples.atlas.tokens import Refused, Verifier, check_run, check_scope

MAX_BODY = 32 << 20
"""Bytes of one result or snippet."""

SNIPPET_SCOPE = "autofix.*"
"""Autofixes store patches, commits fetch them."""


class Body(msgspec.Struct, frozen=True):
    """The envelope of every result."""

    id: str
    task: str
    kwargs: dict[str, Any]
    retries: int = 0


def application(runs: Runs, verifier: Verifier) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application."""
    app = falcon.App()
    for request_type in REQUEST_TYPES.values():
        app.add_route(request_type.result_path, Results(request_type, runs, verifier))
    app.add_route("/snippets/{key}/{snippet_id}", Snippets(runs, verifier))
    app.add_route("/api/runs", RunsAsJson(runs))
    app.add_route("/", Page(runs))
    app.add_error_handler(Refused, _refusal(runs))
    return app


def _refusal(runs: Runs) -> Callable[..., None]:
    def answer(
        req: falcon.Request,
        resp: falcon.Response,
        refused: Refused,
        _params: dict[str, Any],
    ) -> None:
        runs.add_delivery(req.path, refused.run_id, refused.status, str(refused))
        resp.status = falcon.code_to_http_status(refused.status)
        resp.media = {"verdict": str(refused)}

    return answer


class Results:
    """Accepts the results of one request type. A job counts only a 200 as accepted."""

    def __init__(self, request_type: RequestType, runs: Runs, verifier: Verifier) -> None:
        self._type = request_type
        self._runs = runs
        self._verifier = verifier

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Accept a result. Raises Refused with the reason; every delivery is recorded with its verdict."""
        claims = self._verifier.claims(req.get_header("Authorization") or "")
        check_scope(claims, self._type.scope)
        body = self._body(_read(req))
        run_id = body.kwargs["run_id"]
        check_run(claims, run_id)
        new = self._runs.add_result(self._type.name, body.id, body.kwargs)
        verdict = "accepted" if new else "duplicate"
        self._runs.add_delivery(req.path, run_id, 200, verdict)
        resp.media = {"verdict": verdict}

    def _body(self, content: bytes) -> Body:
        try:
            body = msgspec.json.decode(content, type=Body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(422, f"the body is not a result: {error}") from error
        if body.task != self._type.task:
            raise Refused(422, f"the task is {body.task!r}; this path accepts {self._type.task!r}")
        if not isinstance(body.kwargs.get("run_id"), str) or not _is_status(body.kwargs):
            raise Refused(422, "kwargs must have run_id, and status with code, hmessage and err")
        return body


def _is_status(kwargs: dict[str, Any]) -> bool:
    """The status of ssh_verify is a number, any other an object."""
    status = kwargs.get("status")
    code = status.get("code") if isinstance(status, dict) else status
    return isinstance(code, int) and not isinstance(code, bool)


class Snippets:
    """Keeps the patches of an autofix until a commit fetches them."""

    def __init__(self, runs: Runs, verifier: Verifier) -> None:
        self._runs = runs
        self._verifier = verifier
        self._stored: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()

    def on_put(self, req: falcon.Request, resp: falcon.Response, key: str, snippet_id: str) -> None:
        """Store a snippet. The key must be the run of the token."""
        check_run(self._claims(req), key)
        content = _read(req)
        with self._lock:
            self._stored[key, snippet_id] = content
        self._runs.add_delivery(req.path, key, 201, "stored")
        resp.status = falcon.HTTP_201

    def on_get(self, req: falcon.Request, resp: falcon.Response, key: str, snippet_id: str) -> None:
        """Give a snippet to any run: a commit has another id than the autofix before it."""
        run_id = self._claims(req)["run_id"]
        with self._lock:
            content = self._stored.get((key, snippet_id))
        if content is None:
            raise Refused(404, f"there is no snippet {snippet_id!r} of {key!r}", run_id)
        self._runs.add_delivery(req.path, run_id, 200, "fetched")
        resp.content_type = "text/x-diff"
        resp.data = content

    def _claims(self, req: falcon.Request) -> dict[str, Any]:
        claims = self._verifier.claims(req.get_header("Authorization") or "")
        check_scope(claims, SNIPPET_SCOPE)
        return claims


class RunsAsJson:
    """All that atlas knows, for programs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Runs and deliveries, the newest last."""
        runs = [{**msgspec.to_builtins(run), "state": run.state} for run in self._runs.all()]
        resp.data = msgspec.json.encode({"runs": runs, "deliveries": self._runs.deliveries()})
        resp.content_type = falcon.MEDIA_JSON


class Page:
    """All that atlas knows, for people."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """The page, which keeps itself up to date."""
        resp.text = page.render(self._runs.all(), self._runs.deliveries(), now=self._runs.now(), live=True)
        resp.content_type = falcon.MEDIA_HTML
        resp.set_header("Content-Security-Policy", page.content_security_policy())
        resp.set_header("Cache-Control", "no-store")


def _read(req: falcon.Request) -> bytes:
    content = req.bounded_stream.read(MAX_BODY + 1)
    if len(content) > MAX_BODY:
        raise Refused(413, f"the body is over {MAX_BODY} bytes")
    return bytes(content)
