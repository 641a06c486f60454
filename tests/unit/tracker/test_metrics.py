"""runner.tracker.metrics: the names and labels that alerts and dashboards read."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.exposition import generate_latest

from runner.tracker.metrics import TrackerMetrics

NAMES = {
    "orchestrator_results_pending": [],
    "orchestrator_results_oldest_pending_seconds": [],
    "orchestrator_results_set_aside": [],
    "orchestrator_result_publish_total": ["status"],
    "orchestrator_job_outcomes_total": ["driver", "pool", "reason"],
    "orchestrator_end_to_report_seconds_count": [],
    "orchestrator_tracker_last_success_timestamp_seconds": ["driver"],
    "orchestrator_leader": ["driver"],
}
"""Name of a sample → its labels. Alerts and dashboards read these, so they never change."""


def used() -> TrackerMetrics:
    metrics = TrackerMetrics()
    metrics.watch(lambda: 3, lambda: 4.5, lambda: 2)
    metrics.published(202)
    metrics.reported("kubernetes", "large", "timed_out", 0.2)
    metrics.source_alive("kubernetes", 1_700_000_000.0)
    metrics.leading("kubernetes", True)
    return metrics


def value(metrics: TrackerMetrics, name: str, labels: Mapping[str, str] = {}) -> float | None:
    return metrics.registry.get_sample_value(name, dict(labels))


def test_the_names_and_labels_are_as_documented() -> None:
    samples = [sample for family in used().registry.collect() for sample in family.samples]
    found = {sample.name: sorted(sample.labels) for sample in samples}
    assert {
        name: labels for name, labels in found.items() if not name.endswith(("_created", "_bucket", "_sum"))
    } == NAMES
    assert all(name.encode() in generate_latest(used().registry) for name in NAMES)


def test_gauges_of_results_are_read_when_the_metrics_are() -> None:
    metrics, pending = TrackerMetrics(), [1, 2]
    metrics.watch(lambda: len(pending), lambda: 4.5, lambda: 7)
    assert value(metrics, "orchestrator_results_pending") == 2
    pending.clear()
    assert value(metrics, "orchestrator_results_pending") == 0
    assert value(metrics, "orchestrator_results_oldest_pending_seconds") == 4.5
    assert value(metrics, "orchestrator_results_set_aside") == 7


def test_attempts_are_counted_by_status_and_a_strange_status_makes_no_new_series() -> None:
    metrics = TrackerMetrics()
    for status in (202, 202, 503, None, 999, 1000, -1):
        metrics.published(status)
    counts = {
        status: value(metrics, "orchestrator_result_publish_total", {"status": status})
        for status in ("202", "503", "none", "other")
    }
    assert counts == {"202": 2, "503": 1, "none": 1, "other": 3}


def test_an_end_is_counted_and_its_delay_observed_where_it_is_known() -> None:
    metrics = TrackerMetrics()
    for seconds in (0.2, None, -5.0):  # the cluster's clock may be ahead of ours
        metrics.reported("nomad", "p", "deleted", seconds)
    labels = {"driver": "nomad", "pool": "p", "reason": "deleted"}
    assert value(metrics, "orchestrator_job_outcomes_total", labels) == 3
    assert value(metrics, "orchestrator_end_to_report_seconds_count") == 2
    assert value(metrics, "orchestrator_end_to_report_seconds_sum") == 0.2
    assert value(metrics, "orchestrator_end_to_report_seconds_bucket", {"le": "0.05"}) == 1


def test_each_driver_has_its_last_success_and_its_leadership() -> None:
    metrics = used()
    metrics.leading("nomad", True)
    metrics.leading("nomad", False)
    metrics.source_alive("kubernetes", 1_700_000_009.0)
    name = "orchestrator_tracker_last_success_timestamp_seconds"
    assert value(metrics, name, {"driver": "kubernetes"}) == 1_700_000_009.0
    assert value(metrics, "orchestrator_leader", {"driver": "kubernetes"}) == 1
    assert value(metrics, "orchestrator_leader", {"driver": "nomad"}) == 0


def test_two_trackers_of_one_process_share_nothing() -> None:
    used()
    assert value(TrackerMetrics(), "orchestrator_result_publish_total", {"status": "202"}) is None
