"""The gRPC server while other processes end: each call gets an answer or a clear error."""

from __future__ import annotations

import os
import random
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.harness.processes import Process, Processes, eventually
from tests.protocols.conftest import GrpcClient, Outcome, message
from tests.protocols.corpus import ANALYSIS
from tests.protocols.http2 import Http2, framed

CALLS = 2000
Serve = Callable[..., tuple[int, Process]]


@pytest.fixture
def sidecar(processes: Processes, tmp_path: Path, write_config: Callable[..., Path]) -> Process:
    process = processes.sidecar(write_config(tmp_path), "tests.harness.obedient_sidecar", str(tmp_path))
    eventually((tmp_path / "runner.sock").exists, "the sidecar listens")
    return process


@pytest.fixture
def server(serve_grpc: Serve, tmp_path: Path, sidecar: Process) -> tuple[int, Process]:
    return serve_grpc(tmp_path / "runner.sock")


@pytest.mark.timeout(240)
def test_two_thousand_calls_are_all_answered_while_pool_workers_are_killed(
    server: tuple[int, Process], sidecar: Process, token: Callable[..., str]
) -> None:
    done = threading.Event()

    def kill() -> None:
        while not done.wait(random.uniform(0.1, 0.6)):
            for worker in sidecar.children():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    client = GrpcClient(server[0], token())
    try:
        with ThreadPoolExecutor(32) as pool:
            outcomes = Counter(pool.map(lambda _: _until_accepted(client), range(CALLS)))
    finally:
        done.set()
        killer.join()
        client.channel.close()
    assert outcomes.total() == CALLS
    assert set(outcomes) == {"accepted"}


def _until_accepted(client: GrpcClient) -> str:
    """Repeat a call after each retryable error, as atlas does."""
    run = uuid.uuid4().hex
    for _ in range(100):
        outcome = client.send("analysis_run", ANALYSIS | {"run_id": run})
        if not outcome.code:
            return "accepted"
        if outcome.code not in ("unavailable", "busy", "timeout"):
            return outcome.code
        threading.Event().wait(0.1)
    return "given up"


def test_a_call_whose_worker_is_killed_is_unavailable_and_says_when_to_retry(
    server: tuple[int, Process], sidecar: Process, token: Callable[..., str], tmp_path: Path
) -> None:
    client, run = GrpcClient(server[0], token()), f"wait-5000-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.send, "analysis_run", ANALYSIS | {"run_id": run})
        eventually(lambda: (tmp_path / run).exists() and (tmp_path / run).read_text(), "the call is in flight")
        os.kill(int((tmp_path / run).read_text()), signal.SIGKILL)
        assert call.result() == Outcome(code="unavailable", retry_after=2)
    client.channel.close()


def test_without_a_sidecar_calls_are_unavailable_and_health_is_not_serving(
    serve_grpc: Serve, tmp_path: Path, processes: Processes, write_config: Callable[..., Path]
) -> None:
    config = write_config(tmp_path)
    port, _ = serve_grpc(tmp_path / "runner.sock")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert GrpcClient(port, "", channel=channel).send("analysis_run", ANALYSIS).code == "unavailable"
        health = health_pb2_grpc.HealthStub(channel)
        states = health.Watch(health_pb2.HealthCheckRequest(service="orchestrator.v1.Tasks"))
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        sidecar = processes.sidecar(config)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        sidecar.end()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        states.cancel()


def test_on_sigterm_calls_in_flight_are_finished_and_new_ones_refused(
    server: tuple[int, Process], token: Callable[..., str], tmp_path: Path
) -> None:
    port, process = server
    client, authorized = GrpcClient(port, token()), ("authorization", f"Bearer {token()}")
    runs = [f"wait-1500-{uuid.uuid4().hex[:8]}" for _ in range(8)]
    with ThreadPoolExecutor(8) as pool, Http2(port) as busy, Http2(port) as idle:
        idle.answer(idle.start(end=True))
        last = busy.start(authorized)
        busy.send(last, framed(message("analysis_run", ANALYSIS | {"run_id": runs[0]}).SerializeToString()), end=True)
        calls = [pool.submit(client.send, "analysis_run", ANALYSIS | {"run_id": run}) for run in runs[1:]]
        eventually(lambda: all((tmp_path / run).exists() for run in runs), "all are in flight")
        process.signal(signal.SIGTERM)
        eventually(lambda: "closing" in process.said(), "it closes")
        assert busy.answer(busy.start(authorized)).status == "14"
        with pytest.raises(ConnectionRefusedError):
            Http2(port)
        assert busy.answer(last).status == "0"
        assert idle.until_closed()
        assert idle.goaway == 0
        assert {call.result().jobs for call in calls} == {((f"analysis-s0-{run}-1", "created"),) for run in runs[1:]}
    assert process.ended() == 0
    client.channel.close()


def test_on_sigterm_watchers_get_not_serving(server: tuple[int, Process]) -> None:
    port, process = server
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        process.signal(signal.SIGTERM)
        assert [state.status for state in states] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert process.ended() == 0


def test_more_calls_than_slots_wait_and_are_all_served(
    serve_grpc: Serve, tmp_path: Path, sidecar: Process, token: Callable[..., str]
) -> None:
    port, _ = serve_grpc(tmp_path / "runner.sock", concurrency=4)
    client = GrpcClient(port, token())
    with ThreadPoolExecutor(90) as pool:
        runs = [f"wait-50-{uuid.uuid4().hex[:8]}" for _ in range(90)]
        outcomes = list(pool.map(lambda run: client.send("analysis_run", ANALYSIS | {"run_id": run}), runs))
    assert {outcome.code for outcome in outcomes} == {""}
    client.channel.close()
