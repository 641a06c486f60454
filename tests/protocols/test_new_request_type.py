"""A request type that is in no table, sent through every protocol to its reported end.

What it takes is in `tests/new_request_type`: its payload, plan, function, message and one row of the table.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner

from examples.broker import Broker
from runner.cli import main
from runner.request_types import REQUEST_TYPES
from tests.conftest import KeyPair
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.new_request_type import contract
from tests.new_request_type.row import ECHO
from tests.protocols.conftest import Clients, GrpcClient, HttpClient, Outcome, ProtocolClient, _ready

PROGRAM = "tests.new_request_type"
PROTOCOLS = ["function", "bundle", "grpc", "amqp"]


class Atlas:
    """Takes results: each path with its body and the token's claims, by the run's id."""

    def __init__(self, public_key: str) -> None:
        self.results: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {}
        results = self.results

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                bearer = self.headers["Authorization"].removeprefix("Bearer ")
                claims = jwt.decode(bearer, public_key, algorithms=["RS256"])
                results[body["kwargs"]["run_id"]] = (self.path, body, claims)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module", autouse=True)
def row() -> Iterator[None]:
    """In the table of this process, for the clients that read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REQUEST_TYPES, ECHO.name, ECHO)
        yield


@pytest.fixture(scope="module")
def atlas(runner_keys: KeyPair) -> Iterator[Atlas]:
    started = Atlas(runner_keys.public)
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture(scope="module")
def sidecar(
    lasting_processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    document: dict[str, Any],
    atlas: Atlas,
) -> tuple[Path, Process]:
    """Sidecar and tracker of this host's own jobs: the socket's directory, and the sidecar."""
    directory = tmp_path_factory.mktemp("s")
    sections = {
        "driver": "local",
        "local": {"directory": str(directory / "jobs"), "images": {"*": {}}},
        "deepsource": document["deepsource"] | {"host": atlas.url},
        "tracker": {"intervalSeconds": 1},
        "rabbitmq": {"queues": {"ecko_run": {"queue": "echoes"}}},
    }
    config = str(write_config(directory, **sections))
    process = lasting_processes.python("-m", PROGRAM, "runner", "serve", "--no-tracker", "--config", config)
    lasting_processes.python("-m", PROGRAM, "runner", "track", "--config", config)
    eventually((directory / "runner.sock").exists, "the sidecar listens", 30)
    return directory, process


@pytest.fixture(scope="module")
def echo_clients(
    request: pytest.FixtureRequest,
    lasting_processes: Processes,
    sidecar: tuple[Path, Process],
    token: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, ProtocolClient]:
    """The function alone, all functions, the gRPC server and the consumer."""
    directory, process = sidecar
    opened: dict[str, ProtocolClient] = {}
    for name, app in (("function", "app"), ("bundle", "bundle")):
        port = free_port()
        lasting_processes.gunicorn(f"{PROGRAM}.function:{app}", port, directory / "runner.sock")
        eventually(lambda port=port: _ready(port), f"the {name} is ready", 30)  # type: ignore[misc]
        opened[name] = HttpClient(port, token())
    opened["grpc"] = _grpc(lasting_processes, directory, tmp_path_factory.mktemp("contract"), token())
    with suppress(pytest.skip.Exception):
        opened["amqp"] = _amqp(request.getfixturevalue("broker"), lasting_processes, directory, process)
    return Clients(opened)


def _grpc(processes: Processes, directory: Path, generated: Path, token: str) -> ProtocolClient:
    contract.generate(generated)
    port = free_port()
    process = processes.python(
        *("-m", PROGRAM, "functions.grpc"),
        ECHO_CONTRACT=str(generated),
        ORCHESTRATOR_GRPC=json.dumps({"bind": f"127.0.0.1:{port}"}),
        ORCHESTRATOR_SOCKET=str(directory / "runner.sock"),
    )
    eventually(lambda: "serving gRPC" in process.said() or not process.runs(), "it listens", 30)
    assert process.runs(), process.said()
    return GrpcClient(port, token, contract=contract.service(generated))


def _amqp(broker: Broker, processes: Processes, directory: Path, sidecar: Process) -> ProtocolClient:
    from tests.protocols.amqp_stand import AmqpClient, Stand

    stand = Stand(broker, processes, directory)
    stand.consumer_module = (PROGRAM, "functions.amqp")
    stand.sidecars.append(sidecar)
    return AmqpClient(stand, stand.consumer(delays=[3600]))


def echo(run: str, clone_token: str = "first", **fields: Any) -> dict[str, Any]:
    origin = {"remote_url": f"https://u:{clone_token}@git.example/a.git"}
    return {"run_id": run, "origin": origin, "speech": {"words": "hello"}, "exit_code": 3, **fields}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_comes_to_an_end_that_is_reported_in_its_own_shape(
    echo_clients: dict[str, ProtocolClient], atlas: Atlas, protocol: str, run: str
) -> None:
    assert echo_clients[protocol].send("echo_run", echo(run)) == Outcome(jobs=((f"echo-{run}", "created"),))

    eventually(lambda: run in atlas.results, "atlas hears of it", 30)
    path, body, claims = atlas.results[run]
    status = body["kwargs"].pop("status")
    assert (path, body["task"], claims["scp"]) == (ECHO.result_path, ECHO.result_task, ECHO.scope)
    assert body["kwargs"] == {"run_id": run, "echo": {"meant": "hello", "heard": "", "reason": "analyzer_failed"}}
    assert status["code"] == 5107
    assert "exit code 3" in status["err"]
    assert "hello" in status["err"]


def test_every_protocol_knows_it_as_the_same_with_whichever_clone_token(
    echo_clients: dict[str, ProtocolClient], run: str
) -> None:
    sent = [client.send("echo_run", echo(run, token)) for token, client in echo_clients.items()]
    assert sent == [Outcome(jobs=((f"echo-{run}", state),)) for state in ["created"] + ["exists"] * (len(sent) - 1)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_its_remote_is_checked_as_every_remote_is(
    echo_clients: dict[str, ProtocolClient], protocol: str, run: str
) -> None:
    outcome = echo_clients[protocol].send("echo_run", echo(run, origin={"remote_url": "ext::sh -c id"}))
    assert outcome == Outcome(code="invalid", fields=frozenset({"origin.remote_url"}))


def test_rabbitmq_takes_its_other_spelling(echo_clients: dict[str, ProtocolClient], run: str) -> None:
    assert echo_clients["amqp"].send("ecko_run", echo(run)) == Outcome(jobs=((f"echo-{run}", "created"),))


@pytest.mark.parametrize("spelling", ["echo", "ecko", "echo_run", "ecko_run"])
def test_the_command_line_knows_it(spelling: str, tmp_path: Path) -> None:
    payload = tmp_path / "echo.json"
    payload.write_text(json.dumps(echo("r-1")))
    rendered = CliRunner().invoke(main, ["render", spelling, str(payload)])
    assert (rendered.exit_code, rendered.stderr) == (0, "")
    assert "role: echo" in rendered.stdout
