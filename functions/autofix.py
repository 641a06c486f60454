"""`autofix_run`: fix the given issues, in one job."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import AutofixRun


class Autofix(Function):
    """POST /tasks/autofix."""

    request_type = "autofix_run"
    payload = AutofixRun
    paths = ("/tasks/autofix",)


app = application(Autofix)
