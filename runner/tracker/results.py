"""What is published to atlas when a job cannot publish it itself: pure, from an observation and its outcome.

A job publishes its own result when it succeeds. We publish a failure, in the shape that the table of request types
gives it; the confirmation of a cancel; and the end of a job whose exit code is the result, which no image publishes.
Every result has an id made of the job's name and reason, so that atlas recognises one that is sent twice.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.request_types import REQUEST_TYPES, RequestType

_NAMESPACE = uuid.UUID("5f1c7f0e-9f5b-4b57-9a53-0d9a4f4c1f2e")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A body to publish, where, and what its token must allow."""

    path: str
    scope: str
    run_id: str
    body: dict[str, Any]


def result(seen: Observation, outcome: Outcome) -> Result | None:
    """The result to publish for an ended job. None if the job published it itself, or if there is no report path."""
    if seen.cancelled:
        return _confirmation(seen, outcome) if seen.cancellation and seen.cancellation.path else None
    report = seen.report
    if report is None or not report.path:
        return None
    row = REQUEST_TYPES.get(report.request_type)
    if row is not None and row.verdicts:
        return _published(seen, outcome, report, {"run_id": report.run_id, "status": _verdict(seen, outcome, row)})
    if outcome.reason == "succeeded":
        return None
    # A newer release's request type is not in the table: publish what every failure report has.
    more = row.failure(report, outcome) if row is not None else {}
    return _published(seen, outcome, report, {"run_id": report.run_id, "status": _status(outcome), **more})


def _confirmation(seen: Observation, outcome: Outcome) -> Result:
    assert seen.cancellation is not None
    kwargs = {"run_id": seen.cancellation.run_id, "status": _status(outcome)}
    return _published(seen, outcome, seen.cancellation, kwargs)


def _published(seen: Observation, outcome: Outcome, report: Report, kwargs: dict[str, Any]) -> Result:
    identity = str(uuid.uuid5(_NAMESPACE, f"{seen.name}/{outcome.reason}"))
    body = {"id": identity, "task": report.task, "kwargs": kwargs, "retries": 0}
    return Result(path=report.path, scope=report.scope, run_id=report.run_id, body=body)


def _verdict(seen: Observation, outcome: Outcome, row: RequestType) -> int:
    """The job's exit code where that is a result, else the outcome's code."""
    return seen.main_exit if seen.main_exit in row.verdicts else outcome.code


def _status(outcome: Outcome) -> dict[str, Any]:
    return {"code": outcome.code, "hmessage": outcome.hmessage, "err": outcome.err}
