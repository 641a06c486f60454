"""What all processes of an installation log: JSON, at one level, with the request's id from its arrival to its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.kubernetes.manifest import job_manifest
from runner.drivers.memory import MemoryDriver
from runner.drivers.nomad.specification import specification
from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES
from runner.runtime.clock import SystemClock
from runner.sidecar import frames
from runner.sidecar.server import Sidecar
from tests.harness.clock import ManualClock
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.harness.wire import Connection, head, request
from tests.unit import documents

HOSTILE_GRPC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 64


@pytest.fixture
def start_up(
    processes: Processes, tmp_path: Path, write_config: Callable[..., Path]
) -> Callable[..., tuple[Process, int, int]]:
    """`up` with HTTP and gRPC, ready: the process and the ports."""

    def start(*, environment: dict[str, str] | None = None, **sections: Any) -> tuple[Process, int, int]:
        http, grpc = free_port(), free_port()
        section = {"bind": f"127.0.0.1:{http}", "workers": 1}
        path = write_config(
            tmp_path,
            protocols=["http", "grpc"],
            driver="local",
            local={"directory": str(tmp_path / "jobs"), "images": {"*": {"command": ["/bin/true"]}}},
            http=section,
            grpc={"bind": f"127.0.0.1:{grpc}", "workers": 1},
            **sections,
        )
        up = processes.python("-m", "runner", "up", "--config", str(path), **(environment or {}))
        eventually(lambda: _ready(http) and _accepts(grpc), f"it is ready; see {up.log}", 60)
        return up, http, grpc

    return start


def _ready(port: int) -> bool:
    try:
        with Connection(port) as connection:
            return connection.ask(head("GET", "/readyz")).status == 200
    except (OSError, EOFError):
        return False


def _accepts(port: int) -> bool:
    try:
        with Connection(port):
            return True
    except OSError:
        return False


def _disturb(http: int, grpc: int) -> None:
    with Connection(http) as connection:
        connection.ask(request("POST", "/tasks/analysis", b"{", {"Authorization": "Bearer x"}))
    with Connection(grpc) as connection:
        connection.send(HOSTILE_GRPC)


def test_every_line_of_every_process_is_an_object(start_up: Callable[..., tuple[Process, int, int]]) -> None:
    up, http, grpc = start_up(log={"level": "debug"})
    _disturb(http, grpc)
    up.signal(15)
    up.ended(60)
    seen = [json.loads(line) for line in up.said().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(each) for each in seen)
    assert {"orchestrator.up", "gunicorn.error", "orchestrator.grpc"} <= {each["logger"] for each in seen}


@pytest.mark.parametrize("way", ["file", "variable"])
def test_every_process_honours_the_level(start_up: Callable[..., tuple[Process, int, int]], way: str) -> None:
    sections: dict[str, Any] = {"log": {"level": "error"}} if way == "file" else {}
    up, http, grpc = start_up(**sections, environment={"ORCHESTRATOR_LOG_LEVEL": "debug" if way == "file" else "ERROR"})
    _disturb(http, grpc)
    up.signal(15)
    up.ended(60)
    assert {json.loads(line)["level"] for line in up.said().splitlines()} <= {"error", "critical"}


def _submitted(config: Config, request_id: str) -> tuple[MemoryDriver, str]:
    driver = MemoryDriver(resolve_secrets=lambda job: dict.fromkeys(job.secrets, ""), clock=ManualClock())
    sidecar = Sidecar(config, {"memory": driver}, SystemClock())
    body = json.dumps(documents.whole("analysis_run")).encode()
    request = decode(body, REQUEST_TYPES["analysis_run"].payload, RequestPolicy(runner_id="", public_key=""))
    reply = sidecar._submit(frames.submission("analysis_run", request, SystemClock().monotonic() + 10, request_id))
    return driver, reply.jobs[0].name


def test_the_request_id_is_on_the_job(config: Config) -> None:
    driver, name = _submitted(config, "req-1")
    job = driver.job(name)
    assert job.report.request_id == "req-1"
    (seen,) = driver.list()
    assert seen.report is not None
    assert seen.report.request_id == "req-1"
    assert job_manifest(job, config, nonce="n")["metadata"]["annotations"]["orchestrator/request-id"] == "req-1"
    assert specification(job, config)["Meta"]["orchestrator_request_id"] == "req-1"


def test_a_repeat_keeps_the_id_of_the_request_that_made_the_job_and_its_fingerprint(config: Config) -> None:
    driver, name = _submitted(config, "req-1")
    before = driver.job(name).fingerprint
    (action,) = plan(documents.read("analysis_run", documents.whole("analysis_run")), config)
    assert action.report.request_id == ""  # type: ignore[union-attr]
    assert before == action.fingerprint  # type: ignore[union-attr]
