"""`analysis_run`: analyse one commit, a job for each check."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import AnalysisRun


class Analysis(Function):
    """POST /tasks/analysis."""

    request_type = "analysis_run"
    payload = AnalysisRun
    paths = ("/tasks/analysis",)


app = application(Analysis)
