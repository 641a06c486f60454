"""A request type that nobody here has heard of ends on every cluster, and atlas hears of it with the evidence."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.jobs import JobSpec
from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES
from runner.tracker.results import Result
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program
from tests.harness.tracking import track_until
from tests.new_request_type.payload import EchoRun
from tests.new_request_type.row import ECHO

WORDS, CODE = "halloo", 3


class Inbox:
    """What atlas would have got."""

    def __init__(self) -> None:
        self.taken: list[Result] = []

    def publish(self, _name: str, result: Result) -> None:
        self.taken.append(result)


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUEST_TYPES, ECHO.name, ECHO)


@pytest.mark.needs("ends")
def test_its_end_is_reported_in_its_own_shape_with_its_evidence(
    cluster: Cluster, make_config: Callable[..., Config]
) -> None:
    job = echo(cluster, make_config())
    cluster.submit(job)
    outcome = cluster.end(job)
    assert outcome.reason == "analyzer_failed"

    sent = reported(cluster, job.name)
    status = sent.body["kwargs"].pop("status")
    run_id = job.report.run_id
    assert (sent.path, sent.body["task"], sent.scope) == (ECHO.result_path, ECHO.result_task, ECHO.scope)
    assert sent.body["kwargs"] == {
        "run_id": run_id,
        "echo": {"meant": WORDS, "heard": "", "reason": "analyzer_failed"},
    }
    assert status["code"] == 5107
    assert f"exit code {CODE}" in status["err"]
    assert WORDS in status["err"]


def echo(cluster: Cluster, config: Config) -> JobSpec:
    """The job of a request, as planned."""
    document: dict[str, Any] = {
        "run_id": str(uuid.uuid4()),
        "origin": {"remote_url": "https://git.example/a.git"},
        "speech": {"words": WORDS},
        "image": cluster.image,
        "exit_code": CODE,
    }
    request = decode(json.dumps(document).encode(), EchoRun, RequestPolicy(runner_id="", public_key=""))
    (job,) = plan(request, config)
    assert isinstance(job, JobSpec)
    cluster.job(Program(prints=WORDS, exit_code=CODE), name=job.name)  # what is to be played where nothing runs
    return job


def reported(cluster: Cluster, name: str) -> Result:
    """What the tracker publishes of the job, which is then marked."""
    inbox = Inbox()
    track_until(
        cluster.driver, inbox, lambda: bool(inbox.taken) and _marked(cluster, name), seconds=cluster.end_seconds
    )
    (sent,) = inbox.taken
    return sent


def _marked(cluster: Cluster, name: str) -> bool:
    seen = cluster.seen(name)
    return seen is None or seen.reported
