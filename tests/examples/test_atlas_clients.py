"""atlas repeats a task until the Orchestrator accepts it, and stops at a final refusal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import responses
from click.testing import CliRunner
from responses.registries import OrderedRegistry

from examples.atlas.__main__ import main as atlas_command
from examples.atlas.clients.http import HttpClient
from examples.atlas.clients.retry import NotAccepted
from examples.atlas.request_types import REQUEST_TYPES
from examples.atlas.tokens import signer
from tests.conftest import KeyPair

URL = "http://orchestrator.example"
JOBS = [{"name": "job", "driver": "local", "state": "created"}]


@pytest.fixture
def orchestrator() -> Iterator[responses.RequestsMock]:
    """Answers of an Orchestrator, in their order; all of them must be used."""
    with responses.RequestsMock(registry=OrderedRegistry) as mock:
        yield mock


def token(call: responses.Call) -> str:
    return str(call.request.headers["Authorization"]).removeprefix("Bearer ")


def test_a_task_is_repeated_until_it_is_accepted_with_a_reason_for_each_retry(
    orchestrator: responses.RequestsMock, atlas_keys: KeyPair
) -> None:
    path = f"{URL}/tasks/analysis"
    orchestrator.post(path, status=503, body="down")
    orchestrator.post(path, status=429, json={"detail": "the pool is full"}, headers={"Retry-After": "3"})
    orchestrator.post(path, status=201, json={"jobs": JOBS})
    pauses: list[float] = []
    reasons: list[str] = []
    client = HttpClient(URL, signer(atlas_keys.private, "runner-1"), pauses.append)
    jobs = client.send("analysis", {"a": 1}, 60, lambda reason, _: reasons.append(reason))
    assert jobs == JOBS
    assert pauses == [0.25, 3.0]
    assert reasons == [f"{URL} answered 503: down", f"{URL} answered 429: the pool is full"]
    assert [call.request.body for call in orchestrator.calls] == [b'{"a": 1}'] * 3
    claims = jwt.decode(token(orchestrator.calls[0]), atlas_keys.public, algorithms=["RS256"])
    assert claims["runner_id"] == "runner-1"
    assert 0 < claims["exp"] - time.time() <= 300


@pytest.mark.parametrize("status", [302, 400, 401, 403, 409, 413, 415, 422])
def test_a_final_refusal_is_not_repeated(
    status: int, orchestrator: responses.RequestsMock, atlas_keys: KeyPair
) -> None:
    errors = {"detail": "no", "errors": [{"pointer": "/run_id", "message": "is required"}]}
    orchestrator.post(f"{URL}/tasks/analysis", status=status, json=errors, headers={"Location": f"{URL}/elsewhere"})
    client = HttpClient(URL, signer(atlas_keys.private, "runner-1"))
    with pytest.raises(NotAccepted, match="/run_id is required"):
        client.send("analysis", {}, 60, lambda *_: None)
    assert len(orchestrator.calls) == 1


def test_after_the_timeout_the_last_reason_is_given(atlas_keys: KeyPair) -> None:
    client = HttpClient("http://127.0.0.1:9", signer(atlas_keys.private, "r"))
    with pytest.raises(NotAccepted, match="cannot be reached"):
        client.send("analysis", {}, 0.1, lambda *_: None)


def test_a_password_in_netrc_does_not_replace_the_token(
    orchestrator: responses.RequestsMock, atlas_keys: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login ada password s3cr3t\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    orchestrator.post(f"{URL}/tasks/analysis", status=201, json={"jobs": JOBS})
    HttpClient(URL, lambda: "the-token").send("analysis", {}, 60, lambda *_: None)
    assert token(orchestrator.calls[0]) == "the-token"


@pytest.mark.parametrize("name", REQUEST_TYPES)
def test_every_request_type_has_its_call_in_the_client_package(name: str) -> None:
    from orchestrator_client import v1

    assert callable(getattr(v1.TasksStub, REQUEST_TYPES[name].call))
    assert getattr(v1, REQUEST_TYPES[name].message)().to_dict() == {}


def test_send_prints_the_jobs(orchestrator: responses.RequestsMock, atlas_keys: KeyPair, tmp_path: Path) -> None:
    orchestrator.post(f"{URL}/tasks/analysis", status=201, json={"jobs": JOBS})
    key = tmp_path / "atlas.pem"
    key.write_text(atlas_keys.private)
    flags = ["--to", URL, "--runner-id", "runner-1", "--key", str(key)]
    sent = CliRunner().invoke(atlas_command, ["send", "analysis", "-", *flags], input="{}")
    assert sent.exit_code == 0, sent.output
    assert sent.output.split() == ["created", "local", "job"]
