"""The row of `echo_run`, with the shape of its failure report."""

from __future__ import annotations

from typing import Any

from runner.jobs import Report
from runner.observation import Outcome
from runner.request_types import RequestType
from tests.new_request_type.payload import EchoRun


def failure(report: Report, outcome: Outcome) -> dict[str, Any]:
    """A shape that no other request type has."""
    return {"echo": {"meant": report.analyzer, "heard": "", "reason": outcome.reason}}


ECHO = RequestType(
    name="echo_run",
    other_spellings=("ecko_run",),
    payload=EchoRun,
    paths=("/tasks/echo", "/tasks/ecko"),
    rpc="Echo",
    plan="tests.new_request_type.plan:plan",
    role="echo",
    result_path="/api/runner/echo/results",
    result_task="contrib.atlas.tasks.store_echo_run_result",
    scope="echo.*",
    failure=failure,
)
