"""Other projects' clients (grpcio, grpcurl), and the client under proto/ with its documented example."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from functions.grpc.tasks_pb2 import DESCRIPTOR
from tests.harness.processes import ROOT
from tests.protocols.conftest import GrpcClient
from tests.protocols.corpus import ANALYSIS, PATCHER

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
README = ROOT / "proto" / "README.md"
Token = Callable[..., str]


@pytest.mark.parametrize("service", ["", "orchestrator.v1.Tasks"])
def test_health_is_serving_while_the_sidecar_answers(grpc_client: GrpcClient, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(grpc_client.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_of_an_unknown_service_is_not_found(grpc_client: GrpcClient) -> None:
    stub, request = health_pb2_grpc.HealthStub(grpc_client.channel), health_pb2.HealthCheckRequest(service="x")
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    states = stub.Watch(request, timeout=10)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    states.cancel()


def test_reflection_shows_the_contract(grpc_client: GrpcClient) -> None:
    database = ProtoReflectionDescriptorDatabase(grpc_client.channel)
    assert set(database.get_services()) == {"orchestrator.v1.Tasks", "grpc.health.v1.Health"}
    found = database.FindFileContainingSymbol("orchestrator.v1.Tasks")
    assert found.SerializeToString() == DESCRIPTOR.serialized_pb
    with pytest.raises(KeyError):
        database.FindFileByName("no/such.proto")


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """grpc-go's client, built once into a directory outside the tree."""
    if found := shutil.which("grpcurl"):
        return found
    if shutil.which("go") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs go, for the client in Go")
        pytest.skip("no go here to build grpcurl with")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator" / "go"
    if not (cache / "grpcurl").exists():
        built = subprocess.run(
            ["go", "install", GRPCURL], env={**os.environ, "GOBIN": str(cache)}, capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr
    return str(cache / "grpcurl")


@pytest.fixture
def curl(grpcurl: str, grpc_port: int, token: Token) -> Callable[..., subprocess.CompletedProcess[str]]:
    def ask(*what: str, body: Any = None, authorize: bool = True) -> subprocess.CompletedProcess[str]:
        known = ["-H", f"authorization: Bearer {token()}"] if authorize else []
        sent = ["-d", json.dumps(body)] if body is not None else []
        command = [grpcurl, "-plaintext", "-max-time", "20", *known, *sent, f"127.0.0.1:{grpc_port}", *what]
        return subprocess.run(command, capture_output=True, text=True)

    return ask


@pytest.mark.timeout(600)  # the first run builds grpcurl
def test_a_go_client_calls_by_reflection(curl: Callable[..., Any], run: str) -> None:
    request = ANALYSIS | {"run_id": run, "config": json.dumps(ANALYSIS["config"])}
    job = {"name": f"analysis-s0-{run}-1", "state": "STATE_CREATED"}
    made = json.loads(curl("orchestrator.v1.Tasks/Analysis", body=request).stdout)["jobs"]
    assert [{key: each[key] for key in job} for each in made] == [job]


@pytest.mark.timeout(600)
def test_a_go_client_reads_the_details_of_an_error(curl: Callable[..., Any]) -> None:
    refused = curl("orchestrator.v1.Tasks/Commit", body=PATCHER | {"run_id": "../x"})
    assert refused.returncode == 64 + 3
    assert "Code: InvalidArgument" in refused.stderr
    assert '"field": "run_id"' in refused.stderr
    assert "google.rpc.ErrorInfo" in refused.stderr
    assert curl("orchestrator.v1.Tasks/Commit", body={}, authorize=False).returncode == 64 + 16


@pytest.mark.timeout(600)
def test_a_go_client_lists_calls_and_health(curl: Callable[..., Any]) -> None:
    calls = curl("list", "orchestrator.v1.Tasks").stdout.split()
    assert [call.rpartition(".")[2] for call in calls] == sorted(DESCRIPTOR.services_by_name["Tasks"].methods_by_name)
    assert '"SERVING"' in curl("grpc.health.v1.Health/Check").stdout


def documented() -> str:
    found = re.search(r"```python client\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found[1]


def test_the_documented_client_cancels_a_check(grpc_port: int, token: Token) -> None:
    program = documented().replace("50051", str(grpc_port)).replace("a token", token())
    path = {**os.environ, "PYTHONPATH": str(ROOT / "proto" / "python")}
    ran = subprocess.run([sys.executable, "-c", program], env=path, cwd="/", capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "analysis-s0-r-1-1: STATE_CANCELLED\n"), ran.stderr


def test_the_client_under_proto_sends_every_field(grpc_port: int, token: Token, run: str) -> None:
    """The same request was sent by grpcio before: if betterproto lost a field, this is a conflict."""
    from orchestrator_client.v1 import AnalysisRun, TasksStub

    from tests.protocols.conftest import message
    from tests.protocols.corpus import GOOD

    everything = next(case for case in GOOD if case.name == "all that an analysis may hold").document
    said = message("analysis_run", everything | {"run_id": run})

    async def send() -> list[str]:
        async with Channel("127.0.0.1", grpc_port) as channel:
            tasks = TasksStub(channel, timeout=10, metadata={"authorization": f"Bearer {token()}"})
            answer = await tasks.analysis(AnalysisRun().parse(said.SerializeToString()))
            return [job.state.name for job in answer.jobs]

    assert GrpcClient(grpc_port, token()).send("analysis_run", everything | {"run_id": run}).jobs
    assert asyncio.run(send()) == ["STATE_EXISTS"]


def test_the_client_under_proto_reads_errors(grpc_port: int) -> None:
    from orchestrator_client.v1 import CancelCheckRun, TasksStub

    async def send() -> GRPCError:
        async with Channel("127.0.0.1", grpc_port) as channel:
            with pytest.raises(GRPCError) as refused:
                await TasksStub(channel, timeout=10).cancel_check(CancelCheckRun())
            return refused.value

    error = asyncio.run(send())
    assert error.status is Status.UNAUTHENTICATED
    assert [detail.metadata["code"] for detail in error.details] == ["unauthenticated"]
