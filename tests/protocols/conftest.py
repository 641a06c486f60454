"""One client for each protocol, all with one sidecar. It sends a JSON document and returns the outcome.

`functions.grpc` is never imported here: grpclib and grpcio each bring the health and reflection contracts, and protobuf
lets a process have only one of each. It is run instead.

Another protocol is added as a class with `name` and `send`, and a line in `clients`.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import grpc
import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from examples.broker import Broker, BrokerMissing, install
from functions.grpc import tasks_pb2 as messages
from runner.request_types import REQUEST_TYPES
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.harness.wire import Connection, head, request

SERVICE = "orchestrator.v1.Tasks"
CONTRACT = messages.DESCRIPTOR.services_by_name["Tasks"]


class Outcome(msgspec.Struct, frozen=True):
    """The result of a request. `fields` are written as google.rpc.BadRequest writes them."""

    jobs: tuple[tuple[str, str], ...] = ()
    code: str = ""
    fields: frozenset[str] = frozenset()
    retry_after: int | None = None


class ProtocolClient(Protocol):
    """Sends requests over one protocol."""

    name: str

    def send(self, request_type: str, document: dict[str, Any]) -> Outcome:
        """Raises NotExpressible where the protocol cannot express the document."""


class NotExpressible(Exception):
    """The protocol's own types exclude the document."""


class HttpClient:
    """POST to the bundle."""

    name = "http"

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}

    def send(self, request_type: str, document: dict[str, Any]) -> Outcome:
        path = REQUEST_TYPES[request_type].paths[0]
        with Connection(self._port) as connection:
            answer = connection.ask(request("POST", path, json.dumps(document).encode(), self._headers))
        if answer.status in (200, 201):
            return Outcome(jobs=tuple((job["name"], job["state"]) for job in answer.json["jobs"]))
        retry_after = answer.headers.get("retry-after")
        return Outcome(
            code=answer.problem["code"],
            fields=frozenset(_path(each["pointer"]) for each in answer.problem.get("errors", ())),
            retry_after=int(retry_after) if retry_after else None,
        )


class GrpcClient:
    """grpcio, a library that the server does not use."""

    name = "grpc"

    def __init__(self, port: int, token: str, *, channel: grpc.Channel | None = None, contract: Any = CONTRACT) -> None:
        self.channel = channel or grpc.insecure_channel(f"127.0.0.1:{port}")
        self._contract = contract
        self._metadata = (("authorization", f"Bearer {token}"),)

    def call(self, request_type: str) -> Any:
        return self.channel.unary_unary(
            f"/{SERVICE}/{REQUEST_TYPES[request_type].rpc}",
            request_serializer=lambda said: said.SerializeToString(),
            response_deserializer=messages.Accepted.FromString,
        )

    def send(self, request_type: str, document: dict[str, Any]) -> Outcome:
        try:
            said = message(request_type, document, self._contract)
            answer = self.call(request_type)(said, timeout=15, metadata=self._metadata)
        except grpc.RpcError as error:
            return refusal(error)
        return accepted(answer)


def message(request_type: str, document: dict[str, Any], contract: Any = CONTRACT) -> Any:
    """The document as a message of the contract."""
    fields = dict(document)
    if fields.get("config") is not None:
        config = fields["config"]
        fields["config"] = config if isinstance(config, str) else json.dumps(config)
    if ids := (fields.get("artifacts") or {}).get("patch_ids"):
        fields["artifacts"] = fields["artifacts"] | {
            "patch_ids": {name: _patch_ids(each) for name, each in ids.items()}
        }
    kind = GetMessageClass(contract.methods_by_name[REQUEST_TYPES[request_type].rpc].input_type)
    try:
        return json_format.ParseDict(fields, kind(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise NotExpressible(str(error)) from error


def _patch_ids(ids: list[int | str]) -> dict[str, Any]:
    return {"ids": [{"number": each} if isinstance(each, int) else {"text": each} for each in ids]}


def accepted(answer: Any) -> Outcome:
    state = messages.Job.State.Name
    return Outcome(jobs=tuple((job.name, state(job.state).removeprefix("STATE_").lower()) for job in answer.jobs))


def refusal(error: grpc.RpcError) -> Outcome:
    """The outcome in the details of a failed call."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = {}
    for detail in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                found[kind] = kind.FromString(detail.value)
    assert found[ErrorInfo].domain == "orchestrator"
    bad, retry = found.get(BadRequest), found.get(RetryInfo)
    return Outcome(
        code=found[ErrorInfo].metadata["code"],
        fields=frozenset(violation.field for violation in bad.field_violations) if bad else frozenset(),
        retry_after=retry.retry_delay.seconds if retry else None,
    )


def _path(pointer: str) -> str:
    """A JSON pointer as a field's path."""
    dotted = pointer.replace("/", ".").removeprefix(".").removeprefix("_")
    return re.sub(r"\.(\d+)", r"[\1]", dotted)


@pytest.fixture(scope="session")
def lasting_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("log"))
    yield started
    started.end()


@pytest.fixture(scope="session")
def serve_grpc(lasting_processes: Processes) -> Callable[..., tuple[int, Process]]:
    """A gRPC server, listening: `serve_grpc(socket, concurrency=1)`."""

    def start(socket_path: Path, **section: Any) -> tuple[int, Process]:
        port = free_port()
        process = lasting_processes.python(
            *("-m", "functions.grpc"),
            ORCHESTRATOR_GRPC=json.dumps({"bind": f"127.0.0.1:{port}", **section}),
            ORCHESTRATOR_SOCKET=str(socket_path),
        )
        eventually(lambda: "serving gRPC" in process.said() or not process.runs(), "it listens")
        assert process.runs(), process.said()
        return port, process

    return start


@pytest.fixture(scope="session")
def obedient_sidecar(
    lasting_processes: Processes, tmp_path_factory: pytest.TempPathFactory, write_config: Callable[..., Path]
) -> tuple[Path, Process]:
    """The socket and the process of a sidecar with the memory driver that behaves as a request's run id says."""
    directory = tmp_path_factory.mktemp("s")
    process = lasting_processes.sidecar(write_config(directory), "tests.harness.obedient_sidecar")
    eventually((directory / "runner.sock").exists, "the sidecar listens")
    return directory / "runner.sock", process


@pytest.fixture(scope="session")
def obedient_socket(obedient_sidecar: tuple[Path, Process]) -> Path:
    return obedient_sidecar[0]


@pytest.fixture(scope="session")
def grpc_server(serve_grpc: Callable[..., tuple[int, Process]], obedient_socket: Path) -> tuple[int, Process]:
    return serve_grpc(obedient_socket)


@pytest.fixture(scope="session")
def grpc_port(grpc_server: tuple[int, Process]) -> int:
    return grpc_server[0]


@pytest.fixture(scope="session")
def http_client(lasting_processes: Processes, obedient_socket: Path, token: Callable[..., str]) -> HttpClient:
    port = free_port()
    lasting_processes.gunicorn("functions.bundle:app", port, obedient_socket)
    eventually(lambda: _ready(port), "the bundle is ready", 30)
    return HttpClient(port, token())


@pytest.fixture(scope="session")
def grpc_client(grpc_port: int, token: Callable[..., str]) -> Iterator[GrpcClient]:
    client = GrpcClient(grpc_port, token())
    yield client
    client.channel.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A RabbitMQ broker for these tests."""
    try:
        install()
    except BrokerMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    started = Broker(tmp_path_factory.mktemp("broker"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def amqp_client(broker: Broker, lasting_processes: Processes, obedient_sidecar: tuple[Path, Process]) -> ProtocolClient:
    from tests.protocols.amqp_stand import AmqpClient, Stand

    socket_path, sidecar = obedient_sidecar
    stand = Stand(broker, lasting_processes, socket_path.parent)
    stand.sidecars.append(sidecar)
    # Delayed messages must not return during the following tests.
    return AmqpClient(stand, stand.consumer(delays=[3600]))


class Clients(dict[str, ProtocolClient]):
    """The clients by protocol. A test is skipped if this host cannot run its protocol's server."""

    def __missing__(self, name: str) -> ProtocolClient:
        pytest.skip(f"{name} cannot be run on this host; the first skipped test of it has the reason")


@pytest.fixture(scope="session")
def clients(
    http_client: HttpClient, grpc_client: GrpcClient, request: pytest.FixtureRequest
) -> dict[str, ProtocolClient]:
    """A client of every protocol, all with the same sidecar."""
    opened: list[ProtocolClient] = [http_client, grpc_client]
    with suppress(pytest.skip.Exception):
        opened.append(request.getfixturevalue("amqp_client"))
    return Clients({client.name: client for client in opened})


@pytest.fixture
def run() -> str:
    """A run id that is not used yet."""
    return str(uuid.uuid4())


def _ready(port: int) -> bool:
    with suppress(OSError, EOFError), Connection(port) as connection:
        return connection.ask(head("GET", "/readyz")).status == 200
    return False
