"""What atlas serves: the doors for results and snippets, the runs as JSON, and the page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import falcon
import msgspec

from examples.atlas import page
from examples.atlas.runs import Runs
from examples.atlas.tokens import Refused, Verifier, check_run, check_scope

MAX_BODY = 32 << 20
"""Bytes of one result or snippet."""


class Door(msgspec.Struct, frozen=True):
    """Where one kind of result comes in, as the wire contract has it."""

    kind: str
    path: str
    scope: str
    task: str


DOORS = (
    Door(
        "analysis",
        "/api/runner/analysis/results",
        "analysis.*",
        "contrib.atlas.tasks.store_analysis_run_result",
    ),
    Door(
        "autofix",
        "/api/runner/autofix/results",
        "autofix.*",
        "contrib.atlas.tasks.store_autofix_run_result",
    ),
    Door(
        "transformer",
        "/api/runner/transformer/results",
        "transform.*",
        "contrib.atlas.tasks.store_transformer_run_result",
    ),
    Door(
        "commit",
        "/api/runner/autofix/committer/results",
        "autofix.*",
        "contrib.runner.tasks.store_autofix_committer_result",
    ),
    Door(
        "cancel-check",
        "/api/runner/cancel-check/results",
        "analysis.*",
        "contrib.atlas.tasks.confirm_check_cancellation",
    ),
    Door(
        "ssh-verify",
        "/api/runner/ssh-verify/results",
        "ssh_verify.*",
        "contrib.atlas.tasks.store_ssh_verify_result",
    ),
)

SNIPPET_SCOPE = "autofix.*"
"""Autofixes store patches, commits fetch them."""


class Body(msgspec.Struct, frozen=True):
    """What every result looks like from outside."""

    id: str
    task: str
    kwargs: dict[str, Any]
    retries: int = 0


def application(runs: Runs, verifier: Verifier) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application."""
    app = falcon.App()
    for door in DOORS:
        app.add_route(door.path, Results(door, runs, verifier))
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
        runs.remember(req.path, refused.run_id, refused.status, str(refused))
        resp.status = falcon.code_to_http_status(refused.status)
        resp.media = {"verdict": str(refused)}

    return answer


class Results:
    """Takes one kind of result. Only a 200 tells the job that we have it."""

    def __init__(self, door: Door, runs: Runs, verifier: Verifier) -> None:
        self._door = door
        self._runs = runs
        self._verifier = verifier

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take it, or say why not. Every delivery is remembered, with its verdict."""
        claims = self._verifier.claims(req.get_header("Authorization") or "")
        check_scope(claims, self._door.scope)
        body = self._body(_read(req))
        run_id = body.kwargs["run_id"]
        check_run(claims, run_id)
        new = self._runs.take(self._door.kind, body.id, body.kwargs)
        verdict = "taken" if new else "taken before"
        self._runs.remember(req.path, run_id, 200, verdict)
        resp.media = {"verdict": verdict}

    def _body(self, content: bytes) -> Body:
        try:
            body = msgspec.json.decode(content, type=Body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(422, f"the body is no result: {error}") from error
        if body.task != self._door.task:
            raise Refused(422, f"the task is {body.task!r}, and {self._door.task!r} belongs here")
        if not isinstance(body.kwargs.get("run_id"), str) or not _is_status(body.kwargs):
            raise Refused(422, "kwargs must have run_id, and status with code, hmessage and err")
        return body


def _is_status(kwargs: dict[str, Any]) -> bool:
    """The status of ssh_verify is a number, any other an object."""
    status = kwargs.get("status")
    code = status.get("code") if isinstance(status, dict) else status
    return isinstance(code, int) and not isinstance(code, bool)


class Snippets:
    """Keeps patches between the autofix that makes them and the commit that wants them."""

    def __init__(self, runs: Runs, verifier: Verifier) -> None:
        self._runs = runs
        self._verifier = verifier
        self._kept: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()

    def on_put(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        key: str,
        snippet_id: str,
    ) -> None:
        """Only a run itself stores under its id."""
        check_run(self._claims(req), key)
        content = _read(req)
        with self._lock:
            self._kept[key, snippet_id] = content
        self._runs.remember(req.path, key, 201, "stored")
        resp.status = falcon.HTTP_201

    def on_get(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        key: str,
        snippet_id: str,
    ) -> None:
        """Any run may fetch: a commit has another id than the autofix before it."""
        run_id = self._claims(req)["run_id"]
        with self._lock:
            content = self._kept.get((key, snippet_id))
        if content is None:
            raise Refused(404, f"there is no snippet {snippet_id!r} of {key!r}", run_id)
        self._runs.remember(req.path, run_id, 200, "fetched")
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
        resp.text = page.render(self._runs.all(), self._runs.deliveries(), live=True)
        resp.content_type = falcon.MEDIA_HTML
        resp.set_header("Content-Security-Policy", page.content_security_policy())
        resp.set_header("Cache-Control", "no-store")


def _read(req: falcon.Request) -> bytes:
    content = req.bounded_stream.read(MAX_BODY + 1)
    if len(content) > MAX_BODY:
        raise Refused(413, f"the body is over {MAX_BODY} bytes")
    return bytes(content)
