"""Every metric: its name, its labels, and what it means. Alerts and dashboards read these, so they never change.

docs/metrics.md is made of this table (`python -m runner.runtime.metrics.document`). Each label has its values from a
closed set (see `labels`), so the number of series is bounded by the configuration.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["", "livesum", "livemax", "max"]
"""How the values of several processes become one. `live`: the value of a process ends with it."""

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REPORT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
"""From an end that is reported at once to an atlas that was down for a day."""
JOB_SECONDS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)


class Definition(msgspec.Struct, frozen=True):
    """One metric. The name is that of its series, a counter's with `_total`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = ""
    buckets: tuple[float, ...] = ()
    everywhere: bool = True
    """False: only the process that serves the metrics knows it."""


REQUESTS = Definition(
    "orchestrator_requests_total",
    "counter",
    "Requests that were answered, by the code of the answer: accepted, or that of the error.",
    ("request_type", "protocol", "code"),
)
REQUEST_DURATION = Definition(
    "orchestrator_request_duration_seconds",
    "histogram",
    "Seconds from a request's arrival to its answer, of all protocols.",
    buckets=REQUEST_SECONDS,
)
JOBS = Definition(
    "orchestrator_jobs",
    "gauge",
    "Jobs whose end is not reported yet, by what they do and why they wait or how they ended.",
    ("driver", "pool", "phase", "reason"),
    "livesum",
)
QUEUE_DURATION = Definition(
    "orchestrator_job_queue_duration_seconds",
    "histogram",
    "Seconds from a job's creation to the start of its first container, recorded at its end.",
    buckets=JOB_SECONDS,
)
RUN_DURATION = Definition(
    "orchestrator_job_run_duration_seconds",
    "histogram",
    "Seconds from the start of a job's first container to its end.",
    buckets=JOB_SECONDS,
)
OUTCOMES = Definition(
    "orchestrator_job_outcomes_total", "counter", "Ended jobs by outcome.", ("driver", "pool", "reason")
)
END_TO_REPORT = Definition(
    "orchestrator_end_to_report_seconds",
    "histogram",
    "Seconds from a job's end to atlas's acceptance of its result.",
    buckets=REPORT_SECONDS,
)
PENDING = Definition("orchestrator_results_pending", "gauge", "Results that atlas has not accepted.", merge="livesum")
OLDEST = Definition(
    "orchestrator_results_oldest_pending_seconds", "gauge", "Age of the oldest pending result.", merge="livemax"
)
SET_ASIDE = Definition(
    "orchestrator_results_set_aside",
    "gauge",
    "Jobs that are set aside now: atlas refused their results for good. The leading tracker counts them, 30 s after it"
    " begins to lead, 10 s after a change, and every 5 minutes.",
    merge="livesum",
)
PUBLISH = Definition(
    "orchestrator_result_publish_total",
    "counter",
    "Attempts to publish a result, by the status of atlas's answer; none without an answer.",
    ("status",),
)
LAST_SUCCESS = Definition(
    "orchestrator_tracker_last_success_timestamp_seconds",
    "gauge",
    "When the leading tracker last heard from the driver's cluster, in seconds since the epoch; if one of its sources"
    " is stale, when that one was last read.",
    ("driver",),
    "max",
)
LEADER = Definition(
    "orchestrator_leader", "gauge", "1 while this tracker leads for the driver's jobs, else 0.", ("driver",), "livemax"
)
DRIVER_REQUEST_DURATION = Definition(
    "orchestrator_driver_request_duration_seconds",
    "histogram",
    "Seconds of a request to a driver's cluster, by the status of the answer; none without an answer. Watches are not"
    " in it.",
    ("driver", "verb", "code"),
    buckets=REQUEST_SECONDS,
)
IN_FLIGHT = Definition(
    "orchestrator_sidecar_commands_in_flight", "gauge", "Commands that the sidecar works on.", merge="livesum"
)
QUEUE_LENGTH = Definition(
    "orchestrator_sidecar_queue_length",
    "gauge",
    "Commands that wait for a worker of the sidecar; sidecar.queue is the most.",
    everywhere=False,
)
AMQP_CONNECTED = Definition(
    "orchestrator_amqp_connected", "gauge", "1 while all queues of RabbitMQ are consumed, else 0.", merge="livemax"
)
BUILD_INFO = Definition("orchestrator_build_info", "gauge", "1, with the version.", ("version",), everywhere=False)

METRICS: tuple[Definition, ...] = (
    REQUESTS, REQUEST_DURATION, JOBS, QUEUE_DURATION, RUN_DURATION, OUTCOMES, END_TO_REPORT, PENDING, OLDEST, SET_ASIDE,
    PUBLISH, LAST_SUCCESS, LEADER, DRIVER_REQUEST_DURATION, IN_FLIGHT, QUEUE_LENGTH, AMQP_CONNECTED, BUILD_INFO,
)  # fmt: skip
"""All, in the order of docs/metrics.md."""
