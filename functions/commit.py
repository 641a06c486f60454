"""`patcher_run`: apply stored patches and push them, in one job."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import PatcherRun


class Commit(Function):
    """POST /tasks/commit, also under the request type's own name."""

    request_type = "patcher_run"
    payload = PatcherRun
    paths = ("/tasks/commit", "/tasks/patcher")


app = application(Commit)
