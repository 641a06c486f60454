"""`up` and `check-config` with gRPC in the configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runner.config.loading import parse
from runner.config.section_variable import GRPC
from runner.config.types import Config
from runner.errors import Invalid
from runner.supervisor.layout import children
from tests.harness.processes import ROOT, Processes, eventually, free_port
from tests.protocols.conftest import GrpcClient
from tests.protocols.corpus import ANALYSIS


def test_up_starts_the_server_and_restarts_it(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path], token: Callable[..., str], run: str
) -> None:
    port = free_port()
    path = write_config(tmp_path, protocols=["grpc"], grpc={"bind": f"127.0.0.1:{port}", "workers": 2})
    up = processes.python("-m", "runner", "up", "--config", str(path))
    eventually(lambda: serving(port), "it serves", 30)
    for pid in up.children():
        if b"functions.grpc" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not serving(port), "it has stopped")
    eventually(lambda: serving(port), "it serves again", 30)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert GrpcClient(port, token(), channel=channel).send("analysis_run", ANALYSIS | {"run_id": run}).jobs
    up.signal(signal.SIGTERM)
    assert up.ended(40) == 0


def test_without_up_it_serves_with_the_output_of_the_section_command(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    port = free_port()
    path = write_config(tmp_path, grpc={"bind": f"127.0.0.1:{port}"})
    command = [sys.executable, "-m", "runner", "section", "grpc", "--config", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    process = processes.python("-m", "functions.grpc", ORCHESTRATOR_GRPC=printed)
    eventually(lambda: f"serving gRPC on 127.0.0.1:{port}" in process.said(), "it listens")


@pytest.mark.parametrize(
    ("variables", "messages"),
    [
        ({"ORCHESTRATOR_GRPC": '{"bind": "nowhere", "workers": 0}'}, ("/grpc/bind must be", "/grpc/workers must be")),
        ({"ORCHESTRATOR_GRPC": ""}, ("ORCHESTRATOR_GRPC is empty", "python -m runner section grpc")),
        ({"ORCHESTRATOR_GRPC_BIND": "127.0.0.1:1"}, ("ORCHESTRATOR_GRPC_BIND is no longer read", "grpc.bind")),
    ],
)
def test_a_wrong_variable_ends_the_server_with_the_exit_code_for_configuration(
    processes: Processes, variables: dict[str, str], messages: tuple[str, ...]
) -> None:
    process = processes.python("-m", "functions.grpc", **variables)
    assert process.ended() == 3
    assert [message for message in messages if message not in process.said()] == []


def serving(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, suppress(grpc.RpcError):
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


def test_only_the_named_protocols_are_started(make_config: Callable[..., Config]) -> None:
    def names(*protocols: str) -> list[str]:
        config = make_config(protocols=list(protocols), grpc={"workers": 3})
        return [child.name for child in children(config, Path("x.yaml"), {})]

    assert names("http") == ["sidecar", "http"]
    assert names("grpc") == ["sidecar", "grpc 1", "grpc 2", "grpc 3"]
    assert names("http", "grpc") == ["sidecar", "http", "grpc 1", "grpc 2", "grpc 3"]


def test_the_server_gets_its_whole_section_and_no_secret(make_config: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_text("")
    tls = {"certificate": str(file), "key": str(file), "clientCa": str(file)}
    config = make_config(protocols=["grpc"], grpc={"bind": "[::]:1", "concurrency": 5, "tls": tls})
    given = children(config, Path("x.yaml"), {"ORCHESTRATOR_PRIVATE_KEY": "x"})[1].environment
    assert GRPC.read(given) == config.grpc
    assert config.grpc.tls.client_ca == str(file)
    assert [name for name in given if "GRPC" in name] == ["ORCHESTRATOR_GRPC"]
    assert "ORCHESTRATOR_PRIVATE_KEY" not in given


@pytest.mark.parametrize(
    ("tls", "pointers"),
    [
        ({"key": __file__}, {"/grpc/tls/certificate"}),
        ({"certificate": "/nowhere", "clientCa": "/nowhere"}, {"/grpc/tls/certificate", "/grpc/tls/clientCa"}),
    ],
)
def test_tls_files_that_are_missing_are_named(document: dict[str, Any], tls: Any, pointers: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        parse(yaml.safe_dump({**document, "protocols": ["grpc"], "grpc": {"tls": tls}}), {})
    assert {problem.pointer for problem in refused.value.problems} == pointers


def test_check_config_prints_the_server_s_address(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    path = write_config(tmp_path, protocols=["http", "grpc"])
    command = [sys.executable, "-m", "runner", "check-config", "--config", str(path)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "grpc on 127.0.0.1:50051 (plain text" in checked.stdout
