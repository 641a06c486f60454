"""A trace from the request to its result: with telemetry in a collector, without it by the traceparent alone."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.broker import Broker
from functions.grpc.head import read_head
from runner import composition
from runner.config.loading import parse
from runner.observation import Observation
from runner.runtime.clock import SystemClock
from runner.runtime.exported_traces import ExportingTracer
from tests.conftest import ROOT
from tests.faults.conftest import FunctionsClient
from tests.harness.processes import Processes, eventually, free_port
from tests.harness.rounds import observed
from tests.harness.scripted_server import ScriptedServer, scripted_server
from tests.harness.wire import Connection, request
from tests.operate.collector import Collector, collector
from tests.protocols.amqp_stand import Stand
from tests.protocols.conftest import GrpcClient, broker, message
from tests.protocols.corpus import ANALYSIS

__all__ = ["broker"]  # a fixture

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def received() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture
def atlas() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


class Installation:
    """`up` with HTTP, whose jobs fail on this host, and a client of it."""

    def __init__(self, processes: Processes, config: Path, port: int, token: str) -> None:
        self.config = config
        self.process = processes.python("-m", "runner", "up", "--config", str(config))
        self._port = port
        self._token = token
        client = FunctionsClient(port, token, {})
        eventually(client.ready, f"`up` is ready: {self.process.log}", 40)

    def send(self, run_id: str, traceparent: str, kind: str = "analysis", document: Any = None) -> int:
        headers = {"Authorization": f"Bearer {self._token}", **({"traceparent": traceparent} if traceparent else {})}
        body = json.dumps(document or ANALYSIS | {"run_id": run_id}).encode()
        with Connection(self._port) as connection:
            return connection.ask(request("POST", f"/tasks/{kind}", body, headers)).status


@pytest.fixture
def install(
    processes: Processes,
    tmp_path: Path,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    atlas: ScriptedServer,
    document: dict[str, Any],
) -> Callable[..., Installation]:
    def start(**sections: Any) -> Installation:
        port = free_port()
        path = write_config(
            tmp_path,
            driver="local",
            deepsource={**document["deepsource"], "host": atlas.url},
            http={"bind": f"127.0.0.1:{port}", "workers": 1},
            local={"directory": str(tmp_path / "jobs"), "images": {"*": {"command": ["sh", "-c", "env; exit 3"]}}},
            **sections,
        )
        return Installation(processes, path, port, token())

    return start


def result_of(atlas: ScriptedServer, run_id: str) -> dict[str, str]:
    """The headers of the request with that run's result."""
    found: dict[str, str] = eventually(
        lambda: next((each.headers for each in list(atlas.asked) if run_id in each.body.decode()), None),
        f"the result of {run_id} has arrived",
        40,
    )
    return found


def test_a_trace_goes_from_the_request_to_its_result(
    install: Callable[..., Installation], received: Collector, atlas: ScriptedServer
) -> None:
    began = time.time()
    installation = install(telemetry={"otlpEndpoint": received.url})
    assert installation.send("r-traced", GIVEN) == 201
    submit = received.span("submit analysis_run", TRACE)
    create, publish, job = (received.span(name, TRACE) for name in ("create job", "publish result", "job"))
    assert submit.parent == PARENT
    assert (create.parent, publish.parent, job.parent) == (submit.id,) * 3
    assert create.attributes["orchestrator.state"] == "created"
    assert create.attributes["orchestrator.job"] == job.attributes["orchestrator.job"]
    assert job.failure == job.attributes["orchestrator.reason"] == "clone_failed"
    assert (submit.failure, publish.failure) == ("", "")
    assert began <= submit.began <= create.began <= create.ended <= submit.ended
    assert began - 1 <= job.began <= job.ended <= time.time()
    assert result_of(atlas, "r-traced")["traceparent"] == f"00-{TRACE}-{publish.id}-01"
    assert {span.service for span in received.spans()} == {"orchestrator"}
    assert received.server.asked[0].path == "/v1/traces"

    assert installation.send("r-traced", GIVEN.replace("4bf9", "aaaa")) == 200, "a repeat with another trace"
    assert installation.send("r-new", "") == 201
    begun = eventually(
        lambda: [each for each in received.spans() if each.name.startswith("submit") and not each.parent],
        "a request without a traceparent begins a trace",
        30,
    )
    assert result_of(atlas, "r-new")["traceparent"][3:35] == begun[0].trace

    before = len(received.spans())
    assert installation.send("r-last", GIVEN) == 201
    installation.process.signal(signal.SIGTERM)
    installation.process.ended(30)
    names = [span.name for span in received.spans()[before:]]
    assert "submit analysis_run" in names, "the last spans are sent before a process ends"


def test_without_telemetry_atlas_gets_back_what_it_sent(
    install: Callable[..., Installation], atlas: ScriptedServer
) -> None:
    installation = install()
    assert installation.send("r-passed", GIVEN) == 201
    assert installation.send("r-bad", f"{GIVEN}\tx") == 201
    assert installation.send("r-none", "") == 201
    assert result_of(atlas, "r-passed")["traceparent"] == GIVEN
    show = ["-m", "runner", "jobs", "show", f"analysis-s{ANALYSIS['run_serial']}-r-passed-1"]
    command = [sys.executable, *show, "--config", str(installation.config)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert ["trace", TRACE] in [line.split() for line in shown.splitlines()]
    assert "traceparent" not in result_of(atlas, "r-bad")
    assert "traceparent" not in result_of(atlas, "r-none")
    cancel = {"run_id": "c-1", "run_serial": "0"}
    stopped = {"run_id": "r-later", "run_serial": ANALYSIS["run_serial"], "check_seq": "1"}
    assert installation.send("", GIVEN, "cancel-check", cancel | {"analysis_meta": stopped}) == 200
    assert result_of(atlas, "c-1")["traceparent"] == GIVEN
    logged = [path.read_text() for path in (installation.config.parent / "jobs").rglob("*log*") if path.is_file()]
    assert any("CODE_PATH" in text or "SSH_PUBLIC_KEY" in text for text in logged), "the jobs print their environment"
    assert not any(TRACE in text for text in logged), "no container's environment has it"


def test_a_reload_starts_the_export(install: Callable[..., Installation], received: Collector) -> None:
    installation = install()
    text = yaml.safe_load(installation.config.read_text()) | {"telemetry": {"otlpEndpoint": received.url}}
    installation.config.write_text(yaml.safe_dump(text))
    installation.process.signal(signal.SIGHUP)
    numbers = itertools.count()

    def made(span: str, run_id: str) -> bool:
        installation.send(run_id, GIVEN)
        return span in {each.name for each in received.spans()}

    eventually(lambda: made("submit analysis_run", "r-0"), "the sidecar makes spans", 40)
    eventually(lambda: made("job", f"r-{next(numbers)}"), "the tracker makes spans", 40)


@pytest.fixture
def stored(tmp_path: Path, write_config: Callable[..., Path], processes: Processes) -> Callable[[str], str]:
    """Starts a sidecar. Gives the traceparent that is stored with a run's job."""
    local = {"directory": str(tmp_path / "jobs"), "images": {"*": {"command": ["false"]}}}
    path = write_config(tmp_path, driver="local", local=local)
    driver = composition.drivers(parse(path.read_text(), {}))["local"]

    def find(run_id: str) -> str:
        def report() -> Observation | None:
            return next((each for each in observed(driver) if each.report and each.report.run_id == run_id), None)

        seen: Any = eventually(report, f"the job of {run_id} exists", 30)
        return seen.report.traceparent or ""

    return find


@pytest.mark.parametrize("given", [GIVEN, ""])
def test_grpc_metadata_carries_it(
    given: str,
    stored: Callable[[str], str],
    processes: Processes,
    tmp_path: Path,
    token: Callable[..., str],
) -> None:
    port, socket = free_port(), tmp_path / "runner.sock"
    processes.sidecar(tmp_path / "orchestrator.yaml")
    bound = json.dumps({"bind": f"127.0.0.1:{port}"})
    server = processes.python("-m", "functions.grpc", ORCHESTRATOR_GRPC=bound, ORCHESTRATOR_SOCKET=str(socket))
    eventually(lambda: "serving gRPC" in server.said() and socket.exists(), "it listens", 30)
    client = GrpcClient(port, token())
    metadata = (("authorization", f"Bearer {token()}"), *((("traceparent", given),) if given else ()))
    with client.channel:
        client.call("analysis_run")(
            message("analysis_run", ANALYSIS | {"run_id": "r-grpc"}), metadata=metadata, timeout=15, wait_for_ready=True
        )
    assert stored("r-grpc") == given


@pytest.mark.parametrize(("given", "read"), [((GIVEN,), GIVEN), (("nothing",), ""), ((GIVEN, GIVEN), ""), ((), "")])
def test_two_of_them_in_one_call_are_none(given: tuple[str, ...], read: str) -> None:
    headers = [(":method", "POST"), ("content-type", "application/grpc")]
    assert read_head(headers + [("traceparent", each) for each in given], 0.0).traceparent == read


def test_a_header_of_a_message_carries_it(
    stored: Callable[[str], str], processes: Processes, tmp_path: Path, broker: Broker
) -> None:
    stand = Stand(broker, processes, tmp_path)
    stand.start_sidecar()
    stand.consumer()
    sent: dict[str, Any] = {"r-a": GIVEN, "r-b": "nothing", "r-c": 5, "r-d": {"a": GIVEN}}
    for run_id, value in sent.items():
        stand.publish([json.dumps(ANALYSIS | {"run_id": run_id}).encode()], headers={"traceparent": value})
    assert [stored(run_id) for run_id in sent] == [GIVEN, "", "", ""]


IMPORTED = """
import sys
{before}
import yaml
import functions.amqp.server, functions.bundle, functions.grpc.server
import runner.cli.processes, runner.cli.tracking, runner.cli.jobs, runner.supervisor.supervisor, runner.sidecar.pool
from runner import composition
from runner.config.loading import parse
from runner.sidecar import frames
config = parse(open({config!r}).read(), {{}})
composition.preload(config)
sidecar, tracker = composition.sidecar(config), composition.tracker(config)
frame = frames.Submit(request_type="analysis_run", request=b"", deadline=1e12, trace_id="t", traceparent={given!r})
assert sidecar.answer(frames.encode(frame)[4:]).code == "unavailable"
sidecar.close()
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def imported(config: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = IMPORTED.format(config=str(config), given=GIVEN, before=before)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_without_telemetry_nothing_of_opentelemetry_is_imported(
    tmp_path: Path, write_config: Callable[..., Path], received: Collector
) -> None:
    off = imported(write_config(tmp_path))
    assert off.stdout.strip() == "[]", off.stderr
    on = imported(write_config(tmp_path, telemetry={"otlpEndpoint": received.url}))
    assert "opentelemetry.sdk.trace" in on.stdout, on.stderr


def test_missing_packages_are_named_before_anything_starts(tmp_path: Path, write_config: Callable[..., Path]) -> None:
    path = write_config(tmp_path, telemetry={"otlpEndpoint": "http://127.0.0.1:4318"})
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Missing:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry.sdk'):\n            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    command = [sys.executable, "-m", "runner", "check-config", "--config", str(path)]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert "telemetry.otlpEndpoint needs packages" in done.stderr
    assert "requirements-telemetry.txt" in done.stderr
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"telemetry": {}}))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, "they are not needed where the key is not set"


def test_a_parent_decides_what_is_sampled(received: Collector) -> None:
    tracer = ExportingTracer(f"{received.url}/v1/traces/", SystemClock())
    unsampled = tracer.start("submit", GIVEN[:-2] + "00")
    assert unsampled.traceparent[3:35] == TRACE
    assert unsampled.traceparent.endswith("-00")
    unsampled.end()
    tracer.start("submit", GIVEN).end()
    tracer.close()
    assert [(span.name, span.parent) for span in received.spans()] == [("submit", PARENT)]


def test_a_collector_that_is_away_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    away = ExportingTracer(f"http://127.0.0.1:{free_port()}", SystemClock())
    away.start("submit", GIVEN).end()
    away.close()
    assert any("127.0.0.1" in record.getMessage() or "span" in record.getMessage() for record in caplog.records)
