"""What a failure report holds besides the run's id and its status, one function for each shape that atlas knows.

A failure is reported in the shape of the request type's own result, with an empty report, so that atlas needs no second
reader. `runner.request_types` says which request type has which shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.jobs import Report
from runner.observation import Outcome

FailureShape = Callable[[Report, Outcome], dict[str, Any]]


def plain(_report: Report, _outcome: Outcome) -> dict[str, Any]:
    """Nothing besides."""
    return {}


def analysis(report: Report, outcome: Outcome) -> dict[str, Any]:
    """An analysis without issues and metrics that did not pass."""
    files = {"if_all": False, "deleted": [], "renamed": [], "modified": [], "added": []}
    empty = {
        "issues": [],
        "metrics": [],
        "is_passed": False,
        "errors": _errors(outcome),
        "file_meta": files,
        "extra_data": {},
    }
    return {
        "check_seq": report.check_seq,
        "analyzer_shortcode": report.analyzer,
        "report": empty,
        "report_object": "",
    }


def autofix(report: Report, outcome: Outcome) -> dict[str, Any]:
    """Fixes without a changed file."""
    empty = {"changed_files": [], "issues_fixed": [], "patches": [], "errors": _errors(outcome), "extra_data": {}}
    return {"check_seq": report.check_seq, "report": empty, "report_object": ""}


def transformer(_report: Report, outcome: Outcome) -> dict[str, Any]:
    """Formatting without a commit."""
    empty = {
        "changed_files": [],
        "commit_sha": "",
        "commit_created": False,
        "errors": _errors(outcome),
        "patches": [],
    }
    return {"report": empty, "report_object": ""}


def commit(_report: Report, _outcome: Outcome) -> dict[str, Any]:
    """No commit."""
    return {"commit_sha": ""}


def _errors(outcome: Outcome) -> list[dict[str, Any]]:
    return [{"hmessage": outcome.hmessage, "level": 1}]
