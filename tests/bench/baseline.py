"""A function that decodes a request and answers it without a sidecar: the cost of HTTP, WSGI and validation alone."""

from __future__ import annotations

from functions.analysis import Analysis
from functions.http.application import application
from runner import payloads
from runner.jobs import JobResult

POLICY = payloads.RequestPolicy(runner_id="", public_key="")


class Baseline(Analysis):
    def authenticate(self, authorization: str, deadline: float) -> None:
        pass

    def accept(self, body: bytes, deadline: float, trace_id: str) -> tuple[JobResult, ...]:
        request = payloads.decode(body, self.payload, POLICY)
        name = f"analysis-s{request.run_serial}-{request.run_id}-1"
        return (JobResult(name=name, driver="none", state="created"),)


app = application(Baseline)
