"""`cancel_check_run`: stop one analysis."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import CancelCheckRun


class CancelCheck(Function):
    """POST /tasks/cancel-check, also in two older spellings."""

    request_type = "cancel_check_run"
    payload = CancelCheckRun
    paths = ("/tasks/cancel-check", "/tasks/cancel_check", "/tasks/cancelcheck")


app = application(CancelCheck)
