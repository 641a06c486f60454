"""Alerts and dashboard: a real Prometheus fires each alert after a provoked fault, and has data for each panel.

The processes are started one by one, as an operator would without `up`: the pool, the tracker, gunicorn, and the one
that serves the metrics. So each can be ended or stopped alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.runtime.metrics.definitions import METRICS
from tests.conftest import ROOT
from tests.faults.conftest import FunctionsClient
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.operate.prometheus import MONITORING, Prometheus, hastened, installed

pytestmark = pytest.mark.skipif(bool(installed()), reason=installed())

RULES = {rule["alert"]: rule for rule in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]

ENDED = 'orchestrator_job_outcomes_total{reason="clone_failed"}'

TRACKER = """
import sys
from runner.cli import main
from runner.tracker import steps
steps.REFUSALS = 2  # instead of ten minutes with backoff
main(sys.argv[1:])
"""

OTHERS = """
import os, sys, time
from contextlib import suppress
from runner.drivers.http.client import Route
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.http.measured import MeasuredHttpClient
from runner.errors import Unavailable
from runner.runtime.clock import Deadline, SystemClock
from runner.runtime.metrics.definitions import AMQP_CONNECTED
from runner.runtime.metrics.meter import meter
recorder, clock = meter(os.environ), SystemClock()
client = MeasuredHttpClient(CurlHttpClient(clock), "kubernetes", recorder, clock)
recorder.set(AMQP_CONNECTED, 1)
while True:
    with suppress(Unavailable):
        client.request(Route(sys.argv[1]), "GET", "/livez", Deadline.after(5, clock))
    time.sleep(0.2)
"""
"""What needs a cluster and a broker: requests to a driver's cluster, and a connection to RabbitMQ."""


class AtlasDouble(ThreadingHTTPServer):
    """Answers each result with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 200
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: AtlasDouble

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Stage:
    """The installation, its atlas and its Prometheus."""

    def __init__(
        self, directory: Path, processes: Processes, write_config: Callable[..., Path], token: str, sample: Any
    ) -> None:
        self._processes = processes
        self.failing = directory / "failing"
        self.atlas = AtlasDouble()
        self._http, self._metrics = free_port(), free_port()
        command = ["sh", "-c", f"sleep 1; test ! -e {self.failing}"]
        self._config = write_config(
            directory,
            driver="local",
            deepsource={"host": f"http://127.0.0.1:{self.atlas.server_address[1]}"},
            metrics={"bind": f"127.0.0.1:{self._metrics}"},
            http={"allowUnauthenticated": True},
            local={"directory": str(directory / "jobs"), "images": {"*": {"command": command}}, "parallelism": 8},
        )
        self._socket = directory / "runner.sock"
        self._recorded = Path(f"{self._socket}.metrics")
        self._recorded.mkdir()
        self.client = FunctionsClient(self._http, token, sample)

    def start(self) -> None:
        """Start everything, and let one job end well."""
        socket, endpoint = str(self._socket), f"http://127.0.0.1:{self._metrics}"
        self.start_pool()
        self.start_tracker()
        self._processes.python("-m", "runner", "metrics", "--bind", endpoint[7:], "--socket", socket)
        self._python(OTHERS, endpoint)
        self._processes.gunicorn("functions.bundle:app", self._http, self._socket, workers=2)
        eventually(self.client.ready, "requests are answered", 40)
        self.prometheus = Prometheus(self._processes, self._recorded.parent / "prometheus", self._metrics)

    def start_pool(self) -> None:
        self.pool = self._runner("serve", "--no-tracker")

    def start_tracker(self) -> None:
        self.tracker = self._python(TRACKER, "track", "--config", str(self._config))

    def end(self) -> None:
        self.atlas.shutdown()
        self.atlas.server_close()

    def fail_jobs(self, number: int) -> None:
        """Have as many jobs end with `clone_failed`."""
        self.failing.touch()
        for _ in range(number):
            assert self.client.post().status == 201

    def _runner(self, *arguments: str) -> Process:
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(self._recorded)}  # else it would serve the metrics itself
        return self._processes.python("-m", "runner", *arguments, "--config", str(self._config), **environment)

    def _python(self, text: str, *arguments: str) -> Process:
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(self._recorded)}
        return self._processes.command(sys.executable, "-c", text, *arguments, name="python", **environment)


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("alerts")
    processes = Processes(directory)
    stage = Stage(directory, processes, write_config, token(), sample("analysis"))
    try:
        stage.start()
        yield stage
    finally:
        processes.end()
        stage.end()


def test_promtool_finds_nothing_wrong() -> None:
    for arguments in (("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")):
        ran = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_its_place_in_the_runbook() -> None:
    places = {name: rule["annotations"]["runbook"] for name, rule in RULES.items()}
    anchors = {"tracker-stale", "results-pending", "results-set-aside", "outcomes-jumping", "refusals", "no-leader"}
    assert set(places.values()) == {f"docs/operate.md#{anchor}" for anchor in anchors}
    runbook = ROOT / "docs" / "operate.md"
    if runbook.exists():  # it is written apart from this
        headings = re.findall(r"^#+ (.*)$", runbook.read_text(), re.MULTILINE)
        found = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
        ids = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", runbook.read_text()))
        assert anchors <= found | ids


def test_alerts_and_panels_name_metrics_that_exist() -> None:
    known = {each.name for each in METRICS} | {
        f"{each.name}_{part}" for each in METRICS if each.kind == "histogram" for part in ("bucket", "sum", "count")
    }
    for text in [rule["expr"] for rule in RULES.values()] + [expression for _, expression in QUERIES]:
        used = set(re.findall(r"orchestrator_\w+", text))
        assert used
        assert used <= known


def test_the_rules_of_the_test_differ_from_the_real_ones_in_durations_alone() -> None:
    real, test = ((MONITORING / "alerts.yaml").read_text() for _ in range(2))
    hasty = yaml.safe_load(hastened(test))["groups"][0]["rules"]
    for rule, short in zip(yaml.safe_load(real)["groups"][0]["rules"], hasty, strict=True):
        assert not re.search(r"\d+[mdh]\b|> \d{3}", short["expr"]), "a duration was not shortened"
        shape = re.compile(r"(\[|offset |> )\d+[smhd]?")
        assert shape.sub(r"\1N", rule["expr"]) == shape.sub(r"\1N", short["expr"])


def test_nothing_fires_while_all_is_well_and_each_panel_has_data(stage: Stage) -> None:
    stage.fail_jobs(2)  # fewer than the alert is about
    eventually(lambda: stage.prometheus.query(f"{ENDED} == 2"), "they have ended", 30)
    stage.failing.unlink()
    missing = dict.fromkeys(QUERIES)

    def all_have_data() -> bool:
        stage.client.post()
        time.sleep(0.5)  # so that none is left in the queue, for the next tests
        for title, expression in list(missing):
            if stage.prometheus.query(expression.replace("$__rate_interval", "10s")):
                del missing[title, expression]
        return not missing

    try:
        eventually(all_have_data, "each panel has data", 60)
    except AssertionError:
        pytest.fail(f"no data for {list(missing)}")
    assert stage.prometheus.firing() == {}


def test_outcomes_that_jump(stage: Stage) -> None:
    stage.fail_jobs(12)
    alert = stage.prometheus.await_alert("OrchestratorOutcomesJumping")
    assert alert["labels"]["reason"] == "clone_failed"
    assert alert["labels"]["driver"] == "local"
    stage.failing.unlink()
    stage.prometheus.await_end("OrchestratorOutcomesJumping")


def test_results_that_stay_pending(stage: Stage) -> None:
    stage.atlas.status = 503
    stage.fail_jobs(1)
    stage.prometheus.await_alert("OrchestratorResultsPending")
    stage.atlas.status = 200
    stage.prometheus.await_end("OrchestratorResultsPending")


def test_results_that_are_set_aside(stage: Stage) -> None:
    stage.atlas.status = 404
    stage.fail_jobs(1)
    alert = stage.prometheus.await_alert("OrchestratorResultsSetAside")
    assert alert["annotations"]["summary"].startswith("1 jobs are set aside")
    stage.atlas.status = 200


def test_a_tracker_that_hangs(stage: Stage) -> None:
    stage.tracker.signal(signal.SIGSTOP)
    alert = stage.prometheus.await_alert("OrchestratorTrackerStale")
    assert alert["labels"]["driver"] == "local"
    assert "has not heard from local" in alert["annotations"]["summary"]
    stage.tracker.signal(signal.SIGCONT)
    stage.prometheus.await_end("OrchestratorTrackerStale")


def test_no_tracker(stage: Stage) -> None:
    stage.tracker.signal(signal.SIGKILL)
    stage.tracker.ended()
    stage.prometheus.await_alert("OrchestratorNoLeader")
    stage.start_tracker()
    stage.prometheus.await_end("OrchestratorNoLeader")


def test_requests_that_are_refused(stage: Stage) -> None:
    os.kill(stage.pool.pid, signal.SIGTERM)
    stage.pool.ended()

    def refused() -> bool:
        assert stage.client.post().status == 503
        return "OrchestratorRefusals" in stage.prometheus.firing()

    eventually(refused, "OrchestratorRefusals fires", 60)
    stage.start_pool()
    eventually(lambda: stage.client.post().status in (200, 201), "requests are accepted", 30)
    stage.prometheus.await_end("OrchestratorRefusals")
