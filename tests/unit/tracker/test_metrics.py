"""runner.tracker.metrics: what the tracker records, with labels from closed sets."""

from __future__ import annotations

import uuid

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from runner.observation import Observation
from runner.outcomes import RULES
from runner.runtime.metrics.meter import Recorder
from runner.tracker.advice import HELD, STARTING
from runner.tracker.metrics import JOBS_SECONDS, TrackerMetrics

SEEN = Observation(name="analysis-1", driver="nomad", pool="large", phase="waiting", created=0.0)


class Recorded:
    """The tracker's metrics in a registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = TrackerMetrics(Recorder(self.registry), {"default": "local", "large": "nomad"})

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"orchestrator_{name}", labels)

    def series(self, name: str) -> set[tuple[str, ...]]:
        """The labels' values of each series."""
        return {
            tuple(sample.labels.values())
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"orchestrator_{name}"
        }


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_attempts_are_counted_by_status_and_a_strange_status_makes_no_new_series(recorded: Recorded) -> None:
    for status in (202, 202, 503, None, 999, 1000, -1):
        recorded.metrics.published(status)
    counts = {each: recorded.value("result_publish_total", status=each) for each in ("202", "503", "none", "other")}
    assert counts == {"202": 2, "503": 1, "none": 1, "other": 3}


def test_an_end_is_counted_and_its_delay_observed(recorded: Recorded) -> None:
    for seconds in (0.2, -5.0):
        recorded.metrics.reported(SEEN, "deleted", seconds)
    assert recorded.value("job_outcomes_total", driver="nomad", pool="large", reason="deleted") == 2
    assert recorded.value("end_to_report_seconds_count") == 2
    assert recorded.value("end_to_report_seconds_sum") == 0.2
    assert recorded.value("end_to_report_seconds_bucket", le="0.05") == 1


def test_a_job_that_was_seen_to_start_has_its_wait_and_its_run_observed(recorded: Recorded) -> None:
    recorded.metrics.ran(3.0, 70.0)
    recorded.metrics.ran(-1.0, 5.0)  # the cluster's clock may be ahead of ours
    assert recorded.value("job_queue_duration_seconds_sum") == 3.0
    assert recorded.value("job_run_duration_seconds_sum") == 75.0


def test_each_driver_has_its_last_success_and_its_leadership(recorded: Recorded) -> None:
    recorded.metrics.leading("nomad", True)
    recorded.metrics.leading("nomad", False)
    recorded.metrics.leading("kubernetes", True)
    recorded.metrics.source_alive("kubernetes", 1_700_000_009.0)
    assert recorded.value("tracker_last_success_timestamp_seconds", driver="kubernetes") == 1_700_000_009.0
    assert recorded.value("leader", driver="kubernetes") == 1
    assert recorded.value("leader", driver="nomad") == 0


def test_jobs_are_counted_by_what_they_do_and_one_that_is_gone_counts_no_more(recorded: Recorded) -> None:
    waits, runs = msgspec.structs.replace(SEEN, held="queue batch"), msgspec.structs.replace(SEEN, phase="running")
    recorded.metrics.jobs(lambda: [waits, waits, runs], 100.0)
    held = {"driver": "nomad", "pool": "large", "phase": "waiting", "reason": "held"}
    assert recorded.value("jobs", **held) == 2
    assert recorded.value("jobs", driver="nomad", pool="large", phase="running", reason="none") == 1
    recorded.metrics.jobs(lambda: [runs], 100.0 + JOBS_SECONDS / 2)
    assert recorded.value("jobs", **held) == 2, "counted too soon again"
    recorded.metrics.jobs(lambda: [runs], 100.0 + JOBS_SECONDS)
    assert recorded.value("jobs", **held) == 0


def test_no_name_of_a_cluster_or_a_request_makes_a_series(recorded: Recorded) -> None:
    for _ in range(50):
        strange = msgspec.structs.replace(
            SEEN, name=uuid.uuid4().hex, driver=uuid.uuid4().hex, pool=uuid.uuid4().hex, unschedulable=uuid.uuid4().hex
        )
        recorded.metrics.reported(strange, uuid.uuid4().hex, 1.0)
        recorded.metrics.leading(strange.driver, True)
        recorded.metrics.source_alive(strange.driver, 1.0)
        recorded.metrics.jobs(lambda strange=strange: [strange], float("inf"))  # type: ignore[misc]
    pools = {series[:2] for series in recorded.series("job_outcomes_total")}
    assert pools == {("other", "other"), ("nomad", "large"), ("local", "default")}
    assert recorded.series("leader") == {("other",)}
    assert recorded.series("jobs") == {("other", "other", "waiting", "unschedulable")}


@pytest.mark.parametrize("reason", sorted({rule.reason for rule in RULES} | {HELD, STARTING}))
def test_every_reason_has_its_own_series(recorded: Recorded, reason: str) -> None:
    recorded.metrics.reported(SEEN, reason, 1.0)
    assert (
        reason in (HELD, STARTING)
        or recorded.value("job_outcomes_total", driver="local", pool="default", reason=reason) == 0
    )
    assert recorded.value("job_outcomes_total", driver="nomad", pool="large", reason=reason) == 1


def test_two_trackers_of_one_process_share_nothing(recorded: Recorded) -> None:
    recorded.metrics.published(202)
    assert Recorded().value("result_publish_total", status="202") is None
