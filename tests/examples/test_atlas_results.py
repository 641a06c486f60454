"""atlas accepts results and snippets with valid tokens, and refuses all others with a reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner

from examples.atlas.__main__ import main as atlas_command
from examples.atlas.request_types import REQUEST_TYPES, RequestType
from examples.atlas.runs import Result, Run, Runs
from tests.conftest import KeyPair
from tests.examples.conftest import Atlas

STATUS = {"code": 0, "hmessage": "", "err": ""}
ANALYSIS, AUTOFIX = REQUEST_TYPES["analysis"], REQUEST_TYPES["autofix"]


def body_for(run_id: str, task: str = ANALYSIS.task, **kwargs: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "task": task,
        "kwargs": {"run_id": run_id, "status": STATUS, **kwargs},
        "retries": 0,
    }


@pytest.mark.parametrize("request_type", REQUEST_TYPES.values(), ids=lambda each: each.name)
def test_a_result_with_a_valid_token_is_accepted(request_type: RequestType, atlas: Atlas) -> None:
    token = atlas.token("r1", request_type.scope)
    body = body_for("r1", request_type.task)
    answer = atlas.request("POST", request_type.result_path, json=body, token=token)
    assert (answer.status_code, answer.json()) == (200, {"verdict": "accepted"})
    assert atlas.run("r1").results[0].kind == request_type.name


def _by_hmac(atlas: Atlas, public_key: str) -> str:
    """The runner's public key used as a shared secret (RFC 8725, 2.1)."""
    claims = _valid(atlas).split(".")[1]
    header = _base64url(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{header}.{claims}"
    digest = hmac.new(public_key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(digest)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _by_another_key(atlas: Atlas, key: KeyPair) -> str:
    return replace(atlas, private_key=key.private).token("r1", "analysis.*")


def _valid(atlas: Atlas, **claims: Any) -> str:
    return atlas.token("r1", "analysis.*", **claims)


FORGERIES: dict[str, tuple[int, str, Callable[[Atlas, KeyPair, KeyPair], str]]] = {
    "none": (401, "no bearer token", lambda *_: ""),
    "garbage": (401, "is not valid", lambda *_: "a.b.c"),
    "unsigned": (
        401,
        "not signed with RS256",
        lambda *_: jwt.encode({"run_id": "r1"}, "", algorithm="none"),
    ),
    "hmac": (401, "not signed with RS256", lambda atlas, own, _: _by_hmac(atlas, own.public)),
    "another key": (
        401,
        "not signed with the runner's key",
        lambda atlas, _, other: _by_another_key(atlas, other),
    ),
    "expired": (401, "has expired", lambda atlas, *_: _valid(atlas, exp=int(time.time()) - 60)),
    "never expires": (401, "lacks a claim", lambda atlas, *_: _valid(atlas, exp=None)),
    "no run": (401, "lacks a claim", lambda atlas, *_: _valid(atlas, run_id=None)),
    "another issuer": (401, "another issuer", lambda atlas, *_: _valid(atlas, iss="runner-2")),
    "another scope": (403, "scope is 'autofix.*'", lambda atlas, *_: _valid(atlas, scp="autofix.*")),
    "longer scope": (403, "scope is 'analysis.*x'", lambda a, *_: _valid(a, scp="analysis.*x")),
    "another run": (403, "for run 'r2', not for 'r1'", lambda atlas, *_: _valid(atlas, run_id="r2")),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_invalid_token_is_refused_and_the_refusal_recorded(
    forgery: str, atlas: Atlas, runner_keys: KeyPair, atlas_keys: KeyPair
) -> None:
    status, reason, make = FORGERIES[forgery]
    token = make(atlas, runner_keys, atlas_keys)
    answer = atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"), token=token)
    verdict = answer.json()["verdict"]
    assert (answer.status_code, reason in verdict) == (status, True), verdict
    assert atlas.runs.all() == []
    (delivery,) = atlas.runs.deliveries()
    assert (delivery.status, delivery.verdict) == (status, verdict)


def test_a_token_may_have_several_scopes(atlas: Atlas) -> None:
    token = atlas.token("r1", "autofix.* analysis.*")
    assert atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"), token=token).status_code == 200


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_result_is_refused(data: bytes, atlas: Atlas) -> None:
    assert atlas.request("POST", ANALYSIS.result_path, data=data, token=_valid(atlas)).status_code == 422
    assert atlas.runs.all() == []


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"status": STATUS}},
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"run_id": ["r1"], "status": STATUS}},
        {"id": "x", "task": ANALYSIS.task, "kwargs": {"run_id": "r1"}},
        body_for("r1", AUTOFIX.task),
    ],
)
def test_a_result_without_its_fields_is_refused(body: dict[str, Any], atlas: Atlas) -> None:
    assert atlas.request("POST", ANALYSIS.result_path, json=body, token=_valid(atlas)).status_code == 422
    assert atlas.runs.all() == []


def test_a_snippet_is_stored_by_its_own_run_and_fetched_by_any_run(atlas: Atlas) -> None:
    own, other = atlas.token("r1", "autofix.*"), atlas.token("r2", "autofix.*")

    def put(token: str) -> int:
        return atlas.request("PUT", "/snippets/r1/p", data=b"patch", token=token).status_code

    def get(token: str) -> tuple[int, str]:
        answer = atlas.request("GET", "/snippets/r1/p", token=token)
        return answer.status_code, answer.text

    assert put(other) == 403
    assert put("") == 401
    assert put(_valid(atlas)) == 403
    assert get(other)[0] == 404
    assert put(own) == 201
    assert get(other) == (200, "patch")
    assert get("")[0] == 401


@pytest.mark.parametrize(
    ("codes", "jobs", "state"),
    [
        ([], 1, "accepted"),
        ([0], 1, "done"),
        ([0], 2, "accepted"),
        ([0, 0], 2, "done"),
        ([0, 5107], 2, "failed"),
        ([5000], 1, "cancelled"),
        ([5001], 1, "failed"),
    ],
)
def test_the_results_decide_the_state_of_a_run(codes: list[int], jobs: int, state: str) -> None:
    results = tuple(
        Result(id=str(index), kind="analysis", at=index + 1, kwargs={"status": {"code": code}})
        for index, code in enumerate(codes)
    )
    run = Run("r1", "analysis", sent="accepted", jobs=("job",) * jobs, results=results)
    assert (run.state, run.ended) == (state, state != "accepted")
    assert run.finished == (len(codes) if run.ended else None)


def test_the_json_lists_runs_and_deliveries(atlas: Atlas) -> None:
    atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"), token=_valid(atlas))
    atlas.request("POST", ANALYSIS.result_path, json=body_for("r1"))
    document = atlas.request("GET", "/api/runs").json()
    assert [(run["run_id"], run["state"]) for run in document["runs"]] == [("r1", "done")]
    assert [each["status"] for each in document["deliveries"]] == [200, 401]


def test_a_wait_ends_with_the_next_result() -> None:
    runs = Runs()
    waiting = threading.Thread(target=runs.wait, args=(60,))
    waiting.start()
    while waiting.is_alive():
        runs.add_result("analysis", "x", {"run_id": "r1", "status": STATUS})
        runs.add_delivery("/", "r1", 200, "accepted")
        waiting.join(0.01)
    assert runs.all()[0].state == "done"


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    made = CliRunner().invoke(atlas_command, ["keys", str(tmp_path / "keys")])
    assert made.exit_code == 0
    names = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
    assert {name: mode for name, mode in names.items() if ".pub" not in name} == {
        "runner.pem": 0o600,
        "atlas.pem": 0o600,
    }
    again = CliRunner().invoke(atlas_command, ["keys", str(tmp_path / "keys")])
    assert again.exit_code == 1
    assert "exists already" in again.output
