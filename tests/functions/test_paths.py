"""Every path and spelling of the wire contract, for one function alone and for the bundle."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from falcon.inspect import inspect_routes

from runner.request_types import REQUEST_TYPES
from tests.functions.conftest import Server
from tests.harness.wire import Answer, Connection, head

PATHS = {
    "/tasks/analysis": "analysis_run",
    "/tasks/autofix": "autofix_run",
    "/tasks/transformer": "transformer_run",
    "/tasks/transforer": "transformer_run",
    "/tasks/ssh-verify": "ssh_verify_run",
    "/tasks/ssh_verify": "ssh_verify_run",
    "/tasks/sshverify": "ssh_verify_run",
    "/tasks/cancel-check": "cancel_check_run",
    "/tasks/cancel_check": "cancel_check_run",
    "/tasks/cancelcheck": "cancel_check_run",
    "/tasks/commit": "patcher_run",
    "/tasks/patcher": "patcher_run",
}
PREFIX = "/apps/{app_id}"
OWN = {"/livez", "/readyz", "/openapi.json"}
STATES = {"cancel_check_run": (200, "cancelled")}
Post = Callable[..., Answer]
Payload = Callable[..., dict[str, Any]]


def test_the_table_has_these_paths_and_no_other() -> None:
    assert {path: name for name, row in REQUEST_TYPES.items() for path in row.paths} == PATHS


@pytest.mark.parametrize("name", REQUEST_TYPES)
def test_every_request_type_has_a_function_that_serves_its_paths_alone(name: str) -> None:
    row = REQUEST_TYPES[name]
    function = import_module(f"functions.{row.short_names[0].replace('-', '_')}")
    assert f"`{name}`" in (function.__doc__ or "")
    routes = {route.path for route in inspect_routes(function.app)}
    assert routes == OWN | {prefix + path for prefix in ("", PREFIX) for path in row.paths}


@pytest.mark.parametrize("prefix", ["", "/apps/an-app"])
@pytest.mark.parametrize("path", PATHS)
def test_every_path_and_spelling_accepts_its_request(post: Post, payload: Payload, path: str, prefix: str) -> None:
    answer = post(payload(PATHS[path]), prefix + path, X_Installation_ID="17")
    status, state = STATES.get(PATHS[path], (201, "created"))
    assert (answer.status, answer.json["jobs"][0]["state"]) == (status, state)


def test_a_new_request_is_201_and_its_repeat_is_200_with_the_same_jobs(post: Post, payload: Payload) -> None:
    body = payload()
    first, second = post(body), post(body)
    name = f"analysis-s0-{body['run_id']}-1"
    assert (first.status, first.json) == (201, {"jobs": [{"name": name, "driver": "memory", "state": "created"}]})
    assert (second.status, second.json) == (200, {"jobs": [{"name": name, "driver": "memory", "state": "exists"}]})
    assert first.headers["content-type"] == "application/json"


def test_a_repeat_with_one_more_check_creates_only_the_missing_job(post: Post, payload: Payload) -> None:
    one = payload()
    two = one | {"checks": [one["checks"][0], one["checks"][0] | {"check_seq": "2"}]}
    post(one)
    answer = post(two)
    assert answer.status == 201
    assert [job["state"] for job in answer.json["jobs"]] == ["exists", "created"]


def test_a_check_cancelled_before_its_request_arrives_is_answered_200_and_cancelled(
    post: Post, payload: Payload
) -> None:
    analysis = payload()
    meta = {"run_id": analysis["run_id"], "run_serial": "0", "check_seq": "1"}
    cancelled = post(payload("cancel_check_run", analysis_meta=meta), "/tasks/cancel-check")
    late = post(analysis)
    assert [cancelled.status, late.status] == [200, 200]
    assert late.json["jobs"][0]["state"] == "cancelled"


def test_one_function_alone_serves_its_own_path_and_no_other(
    servers: dict[str, Server], post: Post, payload: Payload
) -> None:
    port = servers["analysis"].port
    assert post(payload(), port=port).status == 201
    assert post(payload("autofix_run"), "/tasks/autofix", port=port).problem["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/tasks", "/tasks/nothing", "/apps/tasks/analysis", "/tasks/analysis/.."])
def test_any_other_path_is_404(post: Post, payload: Payload, path: str) -> None:
    answer = post(payload(), path)
    assert (answer.status, answer.problem["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"])
def test_any_other_method_is_405_and_names_the_right_one(bundle: Server, method: str) -> None:
    with Connection(bundle.port) as connection:
        connection.send(head(method, "/tasks/analysis", {"Connection": "close"}))
        answer = connection.answer() if method != "HEAD" else None
    if answer:
        assert (answer.status, answer.problem["code"]) == (405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]


def test_an_unknown_method_is_refused(bundle: Server) -> None:
    with Connection(bundle.port) as connection:
        answer = connection.ask(head("BREW", "/tasks/analysis"))
    assert answer.problem["code"] in ("malformed", "method_not_allowed")


def test_liveness_checks_the_process_and_readiness_checks_the_sidecar(bundle: Server) -> None:
    assert bundle.get("/livez").json == {"status": "ok"}
    assert bundle.get("/readyz").json == {"status": "ok", "drivers": ["memory"]}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json"])
def test_what_is_got_has_a_head_too(bundle: Server, path: str) -> None:
    with Connection(bundle.port) as connection:
        connection.send(head("HEAD", path, {"Connection": "close"}))
        assert connection.received_so_far().startswith(b"HTTP/1.1 200 ")


def test_without_a_sidecar_the_function_is_live_and_not_ready(
    serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory, post: Post, payload: Payload
) -> None:
    from tests.harness.processes import eventually

    alone = serve("functions.analysis:app", tmp_path_factory.mktemp("none") / "runner.sock")
    eventually(lambda: _alive(alone), "it is live")
    for answer in (alone.get("/readyz"), post(payload(), port=alone.port)):
        assert (answer.status, answer.problem["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "python -m runner serve" in answer.problem["detail"]


def _alive(server: Server) -> bool:
    try:
        return server.get("/livez").status == 200
    except OSError:
        return False
