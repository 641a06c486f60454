"""A function that decodes and answers, and does nothing between: what HTTP, WSGI and validation alone cost."""

from __future__ import annotations

from functions.analysis import Analysis
from functions.http import application
from runner import payloads
from runner.jobs import JobResult

TERMS = payloads.RequestPolicy(runner_id="", public_key="")


class Baseline(Analysis):
    def authenticate(self, authorization: str, deadline: float) -> None:
        pass

    def accept(self, body: bytes, deadline: float, trace_id: str) -> tuple[JobResult, ...]:
        request = payloads.decode(body, self.payload, TERMS)
        name = f"analysis-s{request.run_serial}-{request.run_id}-1"
        return (JobResult(name=name, driver="none", state="created"),)


app = application(Baseline)
