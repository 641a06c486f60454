"""Metrics of a running installation: every name of docs/metrics.md, from every process, at one endpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runner.runtime.metrics.definitions import METRICS
from tests.faults.conftest import FunctionsClient
from tests.harness.processes import Process, Processes, children_of, eventually, free_port

Sample = tuple[str, frozenset[tuple[str, str]]]


class Endpoint:
    """A client of `metrics.bind`."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def families(self) -> dict[str, Any]:
        return {each.name: each for each in text_string_to_metric_families(self.get("/metrics")[1].decode())}

    def samples(self) -> dict[Sample, float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families().values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))

    def ready(self) -> dict[str, dict[str, str]]:
        """What is not ready, by part."""
        status, body = self.get("/readyz")
        if status not in (200, 503):
            return {"endpoint": {"status": str(status)}}
        state = json.loads(body)
        assert (status == 200) == all(text in ("ok", "waits") for part in state.values() for text in part.values())
        wrong = {part: {key: text for key, text in of.items() if text != "ok"} for part, of in state.items()}
        return {part: of for part, of in wrong.items() if of}


class Installation:
    """`up` with the local driver and metrics."""

    def __init__(self, process: Process, client: FunctionsClient, endpoint: Endpoint, config: Path) -> None:
        self.process = process
        self.client = client
        self.endpoint = endpoint
        self.config = config

    def child(self, words: str) -> int:
        """The pid of the child with these words in its command line, or 0."""
        return self.process.child(words)


@pytest.fixture(scope="module")
def lasting() -> Iterator[list[Processes]]:
    started: list[Processes] = []
    yield started
    for each in started:
        each.end()


@pytest.fixture(scope="module")
def installation(
    lasting: list[Processes],
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Callable[..., Path],
    token: Callable[..., str],
    sample: Callable[[str], dict[str, Any]],
) -> Installation:
    directory = tmp_path_factory.mktemp("metrics")
    processes = Processes(directory)
    lasting.append(processes)
    http, metrics = free_port(), free_port()
    config = write_config(
        directory,
        driver="local",
        http={"bind": f"127.0.0.1:{http}", "workers": 2, "threads": 4},
        metrics={"bind": f"127.0.0.1:{metrics}"},
        local={"directory": str(directory / "jobs"), "images": {"*": {"command": ["sh", "-c", "sleep 1; exit 3"]}}},
    )
    client = FunctionsClient(http, token(), sample("analysis"))
    process = processes.python("-m", "runner", "up", "--config", str(config))
    eventually(client.ready, f"`up` is ready: {process.log}", 40)
    return Installation(process, client, Endpoint(metrics), config)


def test_every_process_s_numbers_are_at_one_endpoint(installation: Installation) -> None:
    client, endpoint = installation.client, installation.endpoint
    before = endpoint.samples()
    name, labels = "orchestrator_requests_total", {"request_type": "analysis_run", "protocol": "http"}
    for _ in range(20):  # answered by both workers
        assert client.post().status == 201
    client.post(token="none")
    client.get("/tasks/nothing")
    eventually(lambda: (endpoint.value(name, **labels, code="accepted") or 0) >= 20, "20 are counted")
    assert endpoint.value(name, **labels, code="unauthenticated") == 1
    assert endpoint.value(name, request_type="other", protocol="http", code="not_found") == 1
    assert endpoint.value("orchestrator_request_duration_seconds_count") == 22
    assert endpoint.value("orchestrator_sidecar_commands_in_flight") == 0
    assert endpoint.value("orchestrator_sidecar_queue_length") == 0
    eventually(lambda: (endpoint.value("orchestrator_results_pending") or 0) > 0, "results are pending", 30)
    eventually(
        lambda: (endpoint.value("orchestrator_results_oldest_pending_seconds") or 0) > 1, "they are getting older", 30
    )
    eventually(lambda: endpoint.value("orchestrator_result_publish_total", status="none"), "atlas was tried", 30)
    jobs = eventually(
        lambda: [labels for name, labels in endpoint.samples() if name == "orchestrator_jobs"], "jobs are counted", 30
    )
    assert all(dict(labels)["driver"] == "local" for labels in jobs)
    assert before.keys() <= endpoint.samples().keys(), "a series has vanished"


def test_names_labels_and_kinds_are_as_documented(installation: Installation) -> None:
    table = {each.name: each for each in METRICS}
    for family in installation.endpoint.families().values():
        known = table[family.name if family.name in table else f"{family.name}_total"]
        assert (family.type, family.documentation) == (known.kind, known.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(known.labels), sample


def test_no_label_has_an_identity(installation: Installation) -> None:
    number = len(installation.endpoint.samples())
    for _ in range(10):
        installation.client.post(f"run-{os.urandom(4).hex()}")
        installation.client.get(f"/tasks/{os.urandom(4).hex()}")
    text = installation.endpoint.get("/metrics")[1].decode()
    assert not re.search(r"run-[0-9a-f]{8}|analysis-s0", text)
    assert len(installation.endpoint.samples()) <= number + 60, "series for each request"


def test_a_worker_s_counts_outlive_it_and_its_gauges_do_not(installation: Installation) -> None:
    endpoint, gunicorn = installation.endpoint, installation.child("gunicorn")
    directory = Path(f"{installation.config.parent}/runner.sock.metrics")
    count = endpoint.value("orchestrator_request_duration_seconds_count") or 0
    files = len(list(directory.glob("*.db")))
    for _ in range(3):
        for pid in children_of(gunicorn):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(children_of(gunicorn)) == 2 and installation.client.ready(), "the workers are replaced")
    assert installation.client.post().status == 201
    assert (endpoint.value("orchestrator_request_duration_seconds_count") or 0) >= count + 1
    assert len(list(directory.glob("*.db"))) <= files + 2, "files of dead processes pile up"
    tracker = installation.child("runner track")
    os.kill(tracker, signal.SIGSTOP)
    os.kill(tracker, signal.SIGKILL)
    eventually(lambda: endpoint.value("orchestrator_leader", driver="local") is None, "no tracker leads", 5)
    eventually(lambda: endpoint.value("orchestrator_leader", driver="local") == 1, "the next one leads", 30)


def test_readiness_follows_the_tracker_and_the_sidecar(installation: Installation) -> None:
    endpoint = installation.endpoint
    assert endpoint.get("/livez") == (200, b'{"status":"ok"}')
    eventually(lambda: not endpoint.ready(), "all parts are ready", 30)
    os.kill(installation.child("runner track"), signal.SIGKILL)
    eventually(lambda: "tracker" in endpoint.ready(), "the tracker is missing", 5)
    eventually(lambda: not endpoint.ready(), "all parts are ready again", 30)
    os.kill(installation.child("serve --no-tracker"), signal.SIGKILL)
    eventually(lambda: "sidecar" in endpoint.ready(), "the sidecar is missing", 5)
    eventually(lambda: not endpoint.ready(), "all parts are ready again", 30)
    assert endpoint.get("/livez")[0] == 200


def test_a_reload_without_metrics_ends_the_endpoint_and_its_files(installation: Installation) -> None:
    installation.config.write_text(installation.config.read_text().replace("metrics:", "apps:"))
    installation.process.signal(signal.SIGHUP)
    eventually(lambda: installation.endpoint.get("/livez")[0] == 0, "nothing is served", 40)
    eventually(installation.client.ready, "requests are", 40)
    assert installation.client.post().status == 201
    assert not Path(f"{installation.config.parent}/runner.sock.metrics").exists()
