"""runner.runtime.metrics: the directory, each process's number, and the document."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from functions.request_metrics import RequestMetrics
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.measured import MeasuredHttpClient
from runner.runtime.clock import Deadline, SystemClock
from runner.runtime.metrics import backlog, files
from runner.runtime.metrics.definitions import END_TO_REPORT, IN_FLIGHT, METRICS, OUTCOMES
from runner.runtime.metrics.document import LABELS, document
from runner.runtime.metrics.exporter import Metrics
from runner.runtime.metrics.meter import NoMeter, Recorder, meter
from tests.conftest import ROOT
from tests.harness.processes import eventually

FORK = multiprocessing.get_context("fork")


def recording(directory: Path) -> None:
    """In another process: record one of each kind, and wait to be killed."""
    recorder = meter({files.VARIABLE: str(directory)})
    assert not isinstance(recorder, NoMeter)
    recorder.count(OUTCOMES, "local", "default", "deleted")
    recorder.observe(END_TO_REPORT, 0.5)
    recorder.add(IN_FLIGHT, 1)
    (directory / f"{os.getpid()}.ready").touch()
    signal.pause()


@contextmanager
def process(directory: Path) -> Iterator[None]:
    child = FORK.Process(target=recording, args=(directory,))
    child.start()
    try:
        eventually(lambda: (directory / f"{child.pid}.ready").exists(), "it has recorded")
        yield
    finally:
        child.kill()
        child.join()


def values(directory: Path) -> dict[str, float]:
    found = {}
    for family in Metrics(directory, "/nowhere").collect():
        for sample in family.samples:
            if "le" not in sample.labels:
                found[sample.name.removeprefix("orchestrator_")] = sample.value
    return found


def test_counts_add_up_over_processes_and_outlive_them(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    with process(tmp_path), process(tmp_path):
        assert values(tmp_path)["job_outcomes_total"] == 2
        assert values(tmp_path)["sidecar_commands_in_flight"] == 2
    assert values(tmp_path)["job_outcomes_total"] == values(tmp_path)["end_to_report_seconds_count"] == 2
    assert "sidecar_commands_in_flight" not in values(tmp_path)


def test_a_process_takes_over_the_number_and_the_files_of_one_that_has_ended(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    for count in range(1, 6):
        with process(tmp_path):
            assert values(tmp_path)["job_outcomes_total"] == count
            assert values(tmp_path)["sidecar_commands_in_flight"] == 1
    assert values(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


def test_a_new_start_begins_at_zero_but_not_while_a_process_records(tmp_path: Path) -> None:
    files.prepare(tmp_path)
    with process(tmp_path):
        files.prepare(tmp_path)
        assert values(tmp_path)["job_outcomes_total"] == 1
    files.prepare(tmp_path)
    assert "job_outcomes_total" not in values(tmp_path)


def test_metrics_are_off_without_a_directory_and_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(meter({}), NoMeter)
    assert isinstance(meter({}, str(tmp_path / "runner.sock")), NoMeter)
    assert isinstance(meter({files.VARIABLE: str(tmp_path / "none")}), NoMeter)

    def refuse(*_: object) -> int:
        raise PermissionError("not this user's")

    monkeypatch.setattr(os, "open", refuse)
    assert isinstance(meter({files.VARIABLE: str(tmp_path)}), NoMeter)
    assert files.VARIABLE not in os.environ


def test_a_full_disk_fails_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Full(Recorder):
        def _make(self, metric: object) -> object:
            raise OSError(28, "No space left on device")

    recorder = Full()
    recorder.count(OUTCOMES, "local", "default", "deleted")
    recorder.add(IN_FLIGHT, 1)
    assert len([each for each in caplog.records if "No space left" in each.getMessage()]) == 1


def test_the_backlog_of_a_socket_is_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "runner.sock")
    assert backlog.length(path) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        assert backlog.length(path) == 0
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for each in waiting:
            each.connect(path)
        assert backlog.length(path) == 3
        for each in waiting:
            each.close()


class Series:
    """A meter that keeps the labels of each record."""

    def __init__(self) -> None:
        self.labels: list[tuple[str, ...]] = []

    def count(self, _metric: object, *labels: str) -> None:
        self.labels.append(labels)

    def observe(self, _metric: object, _value: float, *labels: str) -> None:
        self.labels.append(labels)

    set = add = observe


def test_a_request_s_labels_are_from_closed_sets() -> None:
    meter = Series()
    requests = RequestMetrics("http", meter)
    for kind, code in (("analysis_run", "accepted"), ("x" * 99, "busy"), ("", "made-up"), ("commit", "")):
        requests.answered(kind, code, 0.1)
    assert meter.labels[::2] == [
        ("analysis_run", "http", "accepted"), ("other", "http", "busy"), ("other", "http", "other"),
        ("other", "http", "other"),
    ]  # fmt: skip


class Cluster:
    """An HTTP client that answers with a status, or not at all."""

    def __init__(self, status: int) -> None:
        self._status = status

    def request(self, *_: object, **__: object) -> HttpResponse:
        if not self._status:
            raise Unsettled("no answer")
        return HttpResponse(self._status, b"")

    stream = request


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("POST", 201, ("nomad", "POST", "201")),
        ("GET", 503, ("nomad", "GET", "503")),
        ("DELETE", 0, ("nomad", "DELETE", "none")),
        ("BREW", 999, ("nomad", "other", "other")),
    ],
)
def test_a_request_to_a_cluster_is_recorded_with_or_without_an_answer(
    method: str, status: int, labels: tuple[str, ...]
) -> None:
    meter, clock = Series(), SystemClock()
    client = MeasuredHttpClient(Cluster(status), "nomad", meter, clock)
    try:
        client.request(Route("http://h"), method, "/v1/jobs?name=secret", Deadline.after(1, clock))
    except Unsettled:
        assert not status
    assert meter.labels == [labels]


def test_the_document_is_made_of_the_code_and_explains_every_label() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == document(), "run `make metrics`"
    assert {label for metric in METRICS for label in metric.labels} == set(LABELS)


def test_names_and_labels_are_those_that_alerts_and_dashboards_read() -> None:
    assert {each.name.removeprefix("orchestrator_"): ",".join(each.labels) for each in METRICS} == {
        "requests_total": "request_type,protocol,code",
        "request_duration_seconds": "",
        "jobs": "driver,pool,phase,reason",
        "job_queue_duration_seconds": "",
        "job_run_duration_seconds": "",
        "job_outcomes_total": "driver,pool,reason",
        "end_to_report_seconds": "",
        "results_pending": "",
        "results_oldest_pending_seconds": "",
        "results_set_aside": "",
        "result_publish_total": "status",
        "tracker_last_success_timestamp_seconds": "driver",
        "leader": "driver",
        "driver_request_duration_seconds": "driver,verb,code",
        "sidecar_commands_in_flight": "",
        "sidecar_queue_length": "",
        "amqp_connected": "",
        "build_info": "version",
    }
