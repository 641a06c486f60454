"""A function that decodes a request and answers it without a sidecar: the cost of HTTP, WSGI and validation alone."""

from __future__ import annotations

import falcon

from functions.function import Function
from functions.http.application import Liveness, RequestId, TaskResource
from runner import payloads
from runner.jobs import JobResult
from runner.payloads.analysis_run import AnalysisRun
from runner.request_types import REQUEST_TYPES
from runner.runtime.clock import SystemClock
from runner.sidecar.client import Client

POLICY = payloads.RequestPolicy(runner_id="", public_key="")


class Baseline(Function):
    def authenticate(self, authorization: str, deadline: float) -> None:
        pass

    def accept(self, body: bytes, deadline: float, trace_id: str, traceparent: object = "") -> tuple[JobResult, ...]:
        request = payloads.decode(body, AnalysisRun, POLICY)
        name = f"analysis-s{request.run_serial}-{request.run_id}-1"
        return (JobResult(name=name, driver="none", state="created"),)


app: falcon.App[falcon.Request, falcon.Response] = falcon.App(middleware=[RequestId()])
clock = SystemClock()
function = Baseline(REQUEST_TYPES["analysis_run"], Client("none", clock), clock)
app.add_route("/tasks/analysis", TaskResource(function, clock))
app.add_route("/livez", Liveness())
