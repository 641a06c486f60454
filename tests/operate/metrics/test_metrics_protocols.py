"""Metrics of gRPC and RabbitMQ, and of a tracker that is deployed apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from examples.broker import Broker
from runner.runtime.metrics import files
from tests.harness.processes import Processes, eventually, free_port
from tests.operate.metrics.test_metrics import Endpoint
from tests.protocols.amqp_stand import Stand
from tests.protocols.conftest import GrpcClient, broker
from tests.protocols.corpus import ANALYSIS

__all__ = ["broker"]  # a fixture

REQUESTS = "orchestrator_requests_total"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that all processes of the test record in."""
    directory = files.beside(str(tmp_path / "runner.sock"))
    files.prepare(directory)
    monkeypatch.setenv(files.VARIABLE, str(directory))
    return directory


@pytest.fixture
def endpoint(processes: Processes, tmp_path: Path, recorded: Path) -> Callable[..., Endpoint]:
    """Serves them, with the readiness of these parts."""

    def serve(*options: str) -> Endpoint:
        port = free_port()
        socket = str(tmp_path / "runner.sock")
        processes.python("-m", "runner", "metrics", f"--bind=127.0.0.1:{port}", "--socket", socket, *options)
        served = Endpoint(port)
        eventually(lambda: served.get("/livez")[0] == 200, "metrics are served", 30)
        return served

    return serve


def test_calls_by_grpc_are_counted_by_the_code_of_the_answer(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    endpoint: Callable[..., Endpoint],
) -> None:
    port = free_port()
    processes.sidecar(write_config(tmp_path))
    processes.python(
        *("-m", "functions.grpc"),
        ORCHESTRATOR_GRPC=json.dumps({"bind": f"127.0.0.1:{port}"}),
        ORCHESTRATOR_SOCKET=str(tmp_path / "runner.sock"),
    )
    served = endpoint("--part=sidecar")
    eventually(lambda: not served.ready(), "the sidecar is ready", 30)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(20)
        client = GrpcClient(port, token(), channel=channel)
        client.send("analysis_run", ANALYSIS)
        client.send("analysis_run", ANALYSIS | {"run_id": ""})
        with suppress(grpc.RpcError):
            channel.unary_unary("/orchestrator.v1.Tasks/Nothing")(b"", timeout=5)
    for kind, code in (("analysis_run", "accepted"), ("analysis_run", "invalid"), ("other", "unimplemented")):
        labels = {"request_type": kind, "protocol": "grpc", "code": code}
        eventually(lambda labels=labels: served.value(REQUESTS, **labels) == 1, f"{kind} {code} is counted", 5)
    assert served.value("orchestrator_request_duration_seconds_count") == 3


def test_messages_are_counted_and_readiness_follows_the_broker(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    broker: Broker,
    endpoint: Callable[..., Endpoint],
) -> None:
    write_config(tmp_path)
    stand = Stand(broker, processes, tmp_path)
    served = endpoint("--part=amqp")
    assert served.ready()["amqp"]["rabbitmq"].startswith("not all queues are consumed")
    sidecar = stand.start_sidecar()
    consumer = stand.consumer()
    eventually(lambda: not served.ready(), "RabbitMQ's consumer is ready", 20)
    stand.publish([json.dumps(ANALYSIS).encode(), b"{"])
    labels = {"request_type": "analysis_run", "protocol": "amqp"}
    eventually(lambda: served.value(REQUESTS, **labels, code="accepted") == 1, "one is accepted", 20)
    eventually(lambda: served.value(REQUESTS, **labels, code="malformed") == 1, "one is refused", 20)
    assert served.value("orchestrator_amqp_connected") == 1
    sidecar.end()
    assert "amqp" in served.ready()
    consumer.end()
    assert served.value("orchestrator_amqp_connected") is None


@pytest.mark.parametrize("command", ["track", "serve --no-tracker"])
def test_a_part_that_is_deployed_apart_serves_its_own_metrics(
    command: str, processes: Processes, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    port = free_port()
    local: dict[str, Any] = {"driver": "local", "local": {"directory": str(tmp_path / "jobs")}}
    path = write_config(tmp_path, **local, metrics={"bind": f"127.0.0.1:{port}"})
    started = processes.python("-m", "runner", *command.split(), "--config", str(path))
    served = Endpoint(port)
    eventually(lambda: not served.ready(), f"it is ready; see {started.log}", 30)
    expected = {"track": ["tracker"], "serve --no-tracker": ["sidecar"]}
    assert list(json.loads(served.get("/readyz")[1])) == expected[command]
