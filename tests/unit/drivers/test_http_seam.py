"""The Kubernetes and the Nomad driver on a simulated HTTP client and a manual clock.

The composition root builds the drivers with HTTP client, clock and randomness replaced: no socket is opened and no time
passes. The simulated servers implement only what a submit needs. A fault defines what happens to one request.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from runner import composition
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.drivers.http.client import HttpClient, HttpResponse, Route, Unsettled
from runner.errors import Conflict, Unavailable
from runner.jobs import JobSpec
from runner.runtime.clock import Deadline
from tests.conformance import jobs
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within

Fault = str
"""`lost`: applied, but no response; `unsent`: not applied, fails at once; `silent`: not applied, fails at deadline."""


class Server:
    """Responds from its own memory. `faults` lists requests, like `POST jobs`, with the fault that happens to each."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.faults: list[tuple[str, Fault]] = []
        self.kept: dict[str, dict[str, Any]] = {}

    def request(
        self,
        route: Route,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: Sequence[str] = (),
        wanted: Sequence[str] = (),
    ) -> HttpResponse:
        deadline.check("asking")
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        what = f"{method} {self.kind(parts.path)}"
        self.asked.append(what)
        fault = self.faults.pop(0)[1] if self.faults and self.faults[0][0] == what else ""
        if fault == "silent":
            self.clock.advance(deadline.left)
        if fault in ("silent", "unsent"):
            raise Unsettled(f"{route.server} did not answer")
        status, content = self.apply(method, parts.path, query, json.loads(body) if body else {})
        if fault == "lost":
            raise Unsettled(f"{route.server} did not answer")
        return HttpResponse(status, json.dumps(content).encode())

    def kind(self, path: str) -> str:
        raise NotImplementedError

    def apply(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        raise NotImplementedError


class ApiServer(Server):
    """Objects by path. Creating an object that exists returns 409."""

    def kind(self, path: str) -> str:
        return path.partition("/namespaces/")[2].split("/")[1]

    def apply(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if method == "GET":
            return (200, self.kept[path]) if path in self.kept else (404, {"message": "not found"})
        path = f"{path}/{body['metadata']['name']}"
        if path in self.kept:
            return 409, {"reason": "AlreadyExists", "message": "already exists"}
        body["metadata"]["uid"] = f"uid-{len(self.kept)}"
        self.kept[path] = body
        return 201, body


class Agent(Server):
    """Variables by path, written by check-and-set; jobs by name, each registered at most once."""

    def kind(self, path: str) -> str:
        return path.split("/")[2]

    def apply(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if method == "GET":
            return (200, self.kept[path]) if path in self.kept else (404, "not found")
        if "cas" in query:
            known = self.kept.get(path)
            if int(query["cas"]) != (known["ModifyIndex"] if known else 0):
                return 409, "conflict"
            index = len(self.asked)
            self.kept[path] = {**body, "CreateIndex": index, "ModifyIndex": index, "ModifyTime": self.now()}
            return 200, self.kept[path]
        job = body["Job"]
        path = f"/v1/job/{job['ID']}"
        if path in self.kept:
            return 500, "Enforcing job modify index 0: job exists"
        self.kept[path] = {**job, "Status": "pending", "ModifyIndex": len(self.asked)}
        return 200, {}

    def now(self) -> int:
        return int(self.clock.wall() * 1e9)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(composition, "_curl", refuse)


def outside(server: HttpClient, clock: ManualClock) -> composition.Outside:
    return composition.Outside(clock, Random(1), lambda: server)


@pytest.fixture
def kubernetes(make_config: Callable[..., Config], tmp_path: Path, clock: ManualClock) -> tuple[Driver, ApiServer]:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://cluster.invalid"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    config = make_config(driver="kubernetes", kubernetes={"namespace": "one", "kubeconfig": str(kubeconfig)})
    server = ApiServer(clock)
    return composition.kubernetes(config, jobs.SecretResolver(), outside(server, clock)), server


@pytest.fixture
def nomad(make_config: Callable[..., Config], clock: ManualClock) -> tuple[Driver, Agent]:
    server = Agent(clock)
    config = make_config(driver="nomad", nomad={"address": "http://nomad.invalid:4646"})
    return composition.nomad(config, jobs.SecretResolver(), outside(server, clock)), server


@pytest.fixture(params=["kubernetes", "nomad"])
def driver_and_server(request: pytest.FixtureRequest) -> tuple[Driver, Server]:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def wanted(**fields: Any) -> JobSpec:
    return jobs.job("shell", **fields)


def test_a_submit_on_kubernetes_takes_two_requests_and_no_time(
    kubernetes: tuple[Driver, ApiServer], clock: ManualClock
) -> None:
    driver, server = kubernetes
    job = wanted()
    assert driver.submit(job, within(5, clock)) == "created"
    assert server.asked == ["POST jobs", "POST secrets"]
    assert driver.submit(job, within(5, clock)) == "exists"
    assert clock.slept == []


def test_after_a_create_whose_response_was_lost_the_driver_reads_the_job(
    kubernetes: tuple[Driver, ApiServer], clock: ManualClock
) -> None:
    driver, server = kubernetes
    server.faults = [("POST jobs", "lost")]
    assert driver.submit(wanted(), within(5, clock)) == "created"
    assert server.asked == ["POST jobs", "GET jobs", "POST secrets"]
    assert sum(1 for path in server.kept if "/jobs/" in path) == 1


def test_a_create_that_did_not_arrive_is_repeated_after_a_pause(
    kubernetes: tuple[Driver, ApiServer], clock: ManualClock
) -> None:
    driver, server = kubernetes
    server.faults = [("POST jobs", "unsent")]
    assert driver.submit(wanted(), within(5, clock)) == "created"
    assert server.asked == ["POST jobs", "GET jobs", "POST jobs", "POST secrets"]
    assert len(clock.slept) == 1
    assert 0.1 <= clock.slept[0] <= 0.2


def test_a_submit_on_nomad_takes_two_requests_and_no_time(nomad: tuple[Driver, Agent], clock: ManualClock) -> None:
    driver, server = nomad
    job = wanted()
    assert driver.submit(job, within(5, clock)) == "created"
    assert server.asked == ["POST var", "POST jobs"]
    assert driver.submit(job, within(5, clock)) == "exists"
    assert clock.slept == []


@pytest.mark.parametrize("request_", ["POST var", "POST jobs"])
def test_after_a_step_whose_response_was_lost_the_driver_reads_the_variable(
    nomad: tuple[Driver, Agent], clock: ManualClock, request_: str
) -> None:
    driver, server = nomad
    server.faults = [(request_, "lost")]
    assert driver.submit(wanted(), within(5, clock)) == "created"
    assert "GET var" in server.asked
    assert sum(1 for path in server.kept if path.startswith("/v1/job/")) == 1
    assert len(clock.slept) == 1
    assert 0.05 <= clock.slept[0] <= 0.1


def test_no_response_until_the_deadline_is_unavailable_and_asks_for_a_repeat(
    driver_and_server: tuple[Driver, Server], clock: ManualClock
) -> None:
    driver, server = driver_and_server
    first = "POST jobs" if isinstance(server, ApiServer) else "POST var"
    server.faults = [(first, "silent")]
    with pytest.raises(Unavailable, match=r"did not answer.*repeat the request"):
        driver.submit(wanted(), within(5, clock))
    assert server.kept == {}


def test_a_different_request_for_the_same_name_is_a_conflict(
    driver_and_server: tuple[Driver, Server], clock: ManualClock
) -> None:
    driver, _ = driver_and_server
    first = wanted(fingerprint="one")
    driver.submit(first, within(5, clock))
    with pytest.raises(Conflict):
        driver.submit(wanted(name=first.name, fingerprint="two"), within(5, clock))


def test_the_same_seed_produces_identical_requests(make_config: Callable[..., Config]) -> None:
    def kept(seed: int) -> dict[str, dict[str, Any]]:
        clock = ManualClock()
        server = Agent(clock)
        config = make_config(driver="nomad", nomad={"address": "http://nomad.invalid:4646"})
        outside = composition.Outside(clock, Random(seed), lambda: server)
        composition.nomad(config, lambda _: {}, outside).submit(wanted(name="analysis-s0-r-1"), within(5, clock))
        return server.kept

    assert kept(1) == kept(1) != kept(2)
