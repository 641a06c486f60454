"""What atlas is told when a job cannot tell it itself: pure, from an observation and its outcome.

A job publishes its own result when it succeeds. We publish a failure in the shape that the request type's own result
has, with an empty report; the confirmation of a cancel; and what ssh_verify found, which no image publishes.
Every result has an id made of the job's name and reason, so that one sent twice can be known for the same.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from runner.commands.ssh_verify_run import EXIT_CODES
from runner.jobs import Report
from runner.observation import Observation, Outcome

_NAMESPACE = uuid.UUID("5f1c7f0e-9f5b-4b57-9a53-0d9a4f4c1f2e")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A body to publish, where, and what its token must allow."""

    path: str
    scope: str
    run_id: str
    body: dict[str, Any]


def result(seen: Observation, outcome: Outcome) -> Result | None:
    """What is to be published of this end, or None where the job has done so, or nobody asked for it."""
    if seen.cancelled:
        return _confirmation(seen, outcome) if seen.cancellation and seen.cancellation.path else None
    report = seen.report
    if report is None or not report.path:
        return None
    if report.request_type == "ssh_verify_run":
        return _published(seen, outcome, report, {"run_id": report.run_id, "status": _verdict(seen, outcome)})
    if outcome.reason == "succeeded":
        return None
    return _published(seen, outcome, report, _failure(report, outcome))


def _confirmation(seen: Observation, outcome: Outcome) -> Result:
    assert seen.cancellation is not None
    kwargs = {"run_id": seen.cancellation.run_id, "status": _status(outcome)}
    return _published(seen, outcome, seen.cancellation, kwargs)


def _published(seen: Observation, outcome: Outcome, report: Report, kwargs: dict[str, Any]) -> Result:
    identity = str(uuid.uuid5(_NAMESPACE, f"{seen.name}/{outcome.reason}"))
    body = {"id": identity, "task": report.task, "kwargs": kwargs, "retries": 0}
    return Result(path=report.path, scope=report.scope, run_id=report.run_id, body=body)


def _verdict(seen: Observation, outcome: Outcome) -> int:
    """0 the key opens the repository; 10 to 14 as the job's own exit codes say; else the outcome's code."""
    return seen.main_exit if seen.main_exit in EXIT_CODES else outcome.code


def _status(outcome: Outcome) -> dict[str, Any]:
    return {"code": outcome.code, "hmessage": outcome.hmessage, "err": outcome.err}


def _failure(report: Report, outcome: Outcome) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"run_id": report.run_id, "status": _status(outcome)}
    errors = [{"hmessage": outcome.hmessage, "level": 1}]
    if report.request_type == "analysis_run":
        kwargs |= {"check_seq": report.check_seq, "analyzer_shortcode": report.analyzer}
        kwargs |= {"report": _analysis_report(errors), "report_object": ""}
    elif report.request_type == "autofix_run":
        fixes = {"changed_files": [], "issues_fixed": [], "patches": [], "errors": errors, "extra_data": {}}
        kwargs |= {"check_seq": report.check_seq, "report": fixes, "report_object": ""}
    elif report.request_type == "transformer_run":
        changes = {"changed_files": [], "commit_sha": "", "commit_created": False, "errors": errors, "patches": []}
        kwargs |= {"report": changes, "report_object": ""}
    else:
        kwargs |= {"commit_sha": ""}
    return kwargs


def _analysis_report(errors: list[dict[str, Any]]) -> dict[str, Any]:
    files = {"if_all": False, "deleted": [], "renamed": [], "modified": [], "added": []}
    return {
        "issues": [],
        "metrics": [],
        "is_passed": False,
        "errors": errors,
        "file_meta": files,
        "extra_data": {},
    }
