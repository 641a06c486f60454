"""An analysis of 256 checks on a cluster that takes fewer creates before the deadline than it needs.

Each repeat of the request gets as much further as the cluster allows, and makes nothing twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.drivers.http.client import HttpResponse, Unsettled
from runner.drivers.kubernetes.api import ApiServerResponse
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import COMPLETE, SECRET
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import OPEN, PREFIX
from runner.jobs import State
from runner.payloads import RequestPolicy, decode
from runner.payloads.analysis_run import AnalysisRun
from runner.runtime.clock import Deadline
from runner.sidecar import frames
from runner.sidecar.parallel import HELPERS
from runner.sidecar.server import Sidecar
from tests.conformance.jobs import SecretResolver
from tests.harness.tasks import SteppedTasks
from tests.unit.drivers.kubernetes.server import Server
from tests.unit.drivers.nomad.agent import FakeAgent

CHECKS, SECONDS, OBJECTS = 256, 10.0, 2
JOBS = 170
"""Jobs that a cluster takes in 10 seconds."""

IN_FLIGHT = 1 + HELPERS["kubernetes"]
READ_COST = 0.1
"""The time for a read, relative to the time for a write. A write that is refused costs as much as another."""

LOST = "lost"


class Pace:
    """A server that takes so many writes in 10 seconds. It is slow or, if `throttles`, answers 429 to the others."""

    def __init__(self, tasks: SteppedTasks, writes: int, *, throttles: bool) -> None:
        self._tasks = tasks
        self._writes = writes
        self._throttles = throttles
        self._free_at = self._window = 0.0
        self._left = writes
        self.sent: Counter[str] = Counter()

    def admit(self, method: str, deadline: Deadline) -> str:
        """Wait for the request's turn. LOST if that comes after its deadline, 429 if the client is to come again."""
        self.sent["GET" if method == "GET" else "write"] += 1
        now = self._tasks.monotonic()
        if self._throttles:
            self._tasks.sleep(0.01)
            return self._counted(now) if method != "GET" else ""
        cost = SECONDS / self._writes * (READ_COST if method == "GET" else 1)
        self._free_at = max(self._free_at, now) + cost
        late = self._free_at - now > deadline.left
        self._tasks.sleep(max(deadline.left, 0) if late else self._free_at - now)
        return LOST if late else ""

    def _counted(self, now: float) -> str:
        if now - self._window >= SECONDS:
            self._window, self._left = now, self._writes
        self._left -= 1
        return "429" if self._left < 0 else ""

    def rest(self) -> None:
        """Until the client repeats the request, the server has done what it has received."""
        self._tasks.advance(max(SECONDS, self._free_at - self._tasks.monotonic()) + 1)


class PacedApiServer(Server):
    """Jobs and Secrets. What it has received is applied, also if the client does not wait for it."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace
        self.secrets: dict[str, Any] = {}
        self.created: Counter[str] = Counter()

    def call(self, method: str, path: str, deadline: Deadline, **rest: Any) -> ApiServerResponse:
        admitted = self._pace.admit(method, deadline)
        if admitted == "429":
            return ApiServerResponse(429, b'{"message": "too many requests"}', 5)
        if path.endswith("/secrets"):
            name, known = rest["body"]["metadata"]["name"], self.secrets
            response = ApiServerResponse(409 if name in known else 201, b'{"reason": "AlreadyExists"}')
            known.setdefault(name, rest["body"])
        else:
            response = super().call(method, path, deadline, **rest)
        if response.status == 201:
            self.created[rest["body"]["metadata"]["name"]] += 1
        if admitted == LOST:
            raise Unsettled("the API server did not answer in time")
        return response

    def complete(self) -> int:
        """The Jobs that have their Secret."""
        return sum(self.secret_of(name) in self.secrets for name in self.jobs)

    def secret_of(self, name: str) -> str:
        found: str = self.jobs[name]["metadata"]["annotations"][SECRET]
        return found

    def named(self) -> list[str]:
        """The Secrets that a Job says exist."""
        notes = [each["metadata"]["annotations"].get(COMPLETE, "") for each in self.jobs.values()]
        return [name for each in notes for name in each.split()]


class PacedAgent(FakeAgent):
    """Variables and jobs. What it has received is applied, also if the client does not wait for it."""

    def __init__(self, tasks: SteppedTasks, pace: Pace) -> None:
        super().__init__(tasks)  # type: ignore[arg-type]  # a clock
        self._pace = pace
        self.created: Counter[str] = Counter()
        """By job. A Variable is written again if its job was not registered."""

    def request(self, route: Any, method: str, path: str, deadline: Deadline, **rest: Any) -> HttpResponse:
        admitted = self._pace.admit(method, deadline)
        if admitted == "429":
            return HttpResponse(429, b"too many requests", 5)
        response = super().request(route, method, path, deadline, **rest)
        if method == "POST" and path.startswith("/v1/jobs") and response.status == 200:
            self.created[json.loads(rest["body"])["Job"]["ID"]] += 1
        if admitted == LOST:
            raise Unsettled("Nomad did not answer in time")
        return response

    def complete(self) -> int:
        """The jobs that may start."""
        opened = {path.removeprefix(PREFIX) for (_, path), each in self.variables.items() if OPEN in each["Items"]}
        return sum(name in opened for (_, name) in self.jobs)


class Stand:
    """A sidecar with one driver, a paced server, and a client that repeats one request."""

    def __init__(self, make_config: Callable[..., Config], engine: str, writes: int, *, throttles: bool) -> None:
        self.tasks = SteppedTasks()
        self.pace = Pace(self.tasks, writes, throttles=throttles)
        self.resolver = SecretResolver()
        self._seeds = count(1)
        self._config = make_config(
            driver=engine,
            kubernetes={"namespace": "jobs"},
            nomad={"address": "http://nomad:4646", "namespace": "jobs"},
        )
        self.server: Any = PacedApiServer(self.pace) if engine == "kubernetes" else PacedAgent(self.tasks, self.pace)
        self._engine = engine

    def driver(self) -> Driver:
        """As another worker has it."""
        settings: dict[str, Any] = {
            "resolve_secrets": self.resolver,
            "clock": self.tasks,
            "random": Random(next(self._seeds)),
        }
        if self._engine == "kubernetes":
            return KubernetesDriver(self._config, api=self.server, **settings)
        agent = NomadClient(self._config.nomad, http=self.server, clock=self.tasks)
        return NomadDriver(self._config, agent=agent, **settings)

    def send(self, request: AnalysisRun) -> list[State] | str:
        """The states, or the code of the error."""
        sidecar = Sidecar(self._config, {self._engine: self.driver()}, self.tasks, self.tasks)
        frame = frames.submission("analysis_run", request, self.tasks.monotonic() + SECONDS, "r1")
        replies: list[frames.Reply] = []
        self.pace.sent.clear()
        body = frames.encode(frame)[frames.HEADER.size :]
        self.tasks.start("command", lambda: replies.append(sidecar.answer(body)))
        self.tasks.advance(SECONDS + 2)
        (reply,) = replies
        self.pace.rest()
        if isinstance(reply, frames.Accepted):
            return [job.state for job in reply.jobs]
        assert isinstance(reply, frames.Refused)
        return reply.code

    def tries(self, request: AnalysisRun, most: int) -> int:
        """How often the request is sent until it is accepted."""
        for number in range(1, most + 1):
            if isinstance(found := self.send(request), list):
                assert len(found) == CHECKS
                return number
            assert found in ("timeout", "unavailable", "busy")
        raise AssertionError(f"not accepted after {most} tries; {self.server.complete()} jobs are complete")


@pytest.fixture
def request_of(sample: Callable[[str], dict[str, Any]]) -> Callable[[int], AnalysisRun]:
    def make(checks: int) -> AnalysisRun:
        document = sample("analysis")
        document["checks"] = [{**document["checks"][0], "check_seq": str(number)} for number in range(checks)]
        return decode(json.dumps(document).encode(), AnalysisRun, RequestPolicy("bench", ""))

    return make


Request = Callable[[int], AnalysisRun]


@pytest.mark.parametrize("throttles", [False, True], ids=["slow", "429"])
@pytest.mark.parametrize("engine", ["kubernetes", "nomad"])
@pytest.mark.parametrize(("jobs", "most"), [(JOBS, 2), (JOBS / 2, 5)])
def test_a_repeat_gets_as_much_further_as_the_cluster_allows(
    make_config: Callable[..., Config], request_of: Request, engine: str, throttles: bool, jobs: float, most: int
) -> None:
    stand = Stand(make_config, engine, int(jobs * OBJECTS), throttles=throttles)
    assert stand.tries(request_of(CHECKS), most) > 1
    assert len(stand.server.jobs) == stand.server.complete() == CHECKS
    assert set(stand.server.created.values()) == {1}
    assert len(stand.server.created) == {"kubernetes": OBJECTS * CHECKS, "nomad": CHECKS}[engine]


@pytest.mark.parametrize("engine", ["kubernetes", "nomad"])
def test_a_repeat_of_what_exists_signs_and_writes_next_to_nothing(
    make_config: Callable[..., Config], request_of: Request, engine: str
) -> None:
    stand, request = Stand(make_config, engine, 100 * CHECKS, throttles=False), request_of(CHECKS)
    assert stand.send(request) == ["created"] * CHECKS
    assert stand.pace.sent == {"GET": 1, "write": OBJECTS * CHECKS}
    assert stand.send(request) == ["exists"] * CHECKS
    known_by_the_next_job = {"kubernetes": CHECKS - 2 * IN_FLIGHT, "nomad": CHECKS}[engine]
    assert stand.pace.sent["write"] <= CHECKS - known_by_the_next_job
    assert stand.resolver.asked.total() <= 2 * CHECKS - known_by_the_next_job
    assert set(stand.server.created.values()) == {1}


@pytest.mark.parametrize("engine", ["kubernetes", "nomad"])
def test_a_request_of_few_jobs_is_not_preceded_by_a_read(
    make_config: Callable[..., Config], request_of: Request, engine: str
) -> None:
    stand = Stand(make_config, engine, 100 * CHECKS, throttles=False)
    assert stand.send(request_of(8)) == ["created"] * 8
    assert stand.pace.sent == {"write": OBJECTS * 8}


@pytest.mark.parametrize("engine", ["kubernetes", "nomad"])
def test_another_request_with_the_same_names_conflicts(
    make_config: Callable[..., Config], request_of: Request, engine: str
) -> None:
    stand, request = Stand(make_config, engine, 100 * CHECKS, throttles=False), request_of(CHECKS)
    stand.send(request)
    assert stand.send(msgspec.structs.replace(request, repo_id=request.repo_id + 1)) == "conflict"


class TestSecretsThatAJobNames:
    """Each must exist: the job of a Secret that is taken to exist would never start."""

    def test_they_exist_whenever_the_request_is_cut(
        self, make_config: Callable[..., Config], request_of: Request
    ) -> None:
        for writes in range(40, 440, 37):
            stand = Stand(make_config, "kubernetes", writes, throttles=True)
            assert stand.send(request_of(CHECKS)) == "busy"
            named, server = stand.server.named(), stand.server
            assert set(named) <= server.secrets.keys()
            assert len(named) == len(set(named))
            assert len(server.secrets) - len(named) <= 2 * IN_FLIGHT

    def test_a_job_made_anew_under_its_name_gets_a_secret_of_its_own(
        self, make_config: Callable[..., Config], request_of: Request
    ) -> None:
        stand, request = Stand(make_config, "kubernetes", 100 * CHECKS, throttles=False), request_of(CHECKS)
        stand.send(request)
        name = next(each for each in stand.server.jobs if stand.server.secret_of(each) in stand.server.named())
        del stand.server.secrets[stand.server.secret_of(name)]
        del stand.server.jobs[name]
        found = stand.send(request)
        assert Counter(found) == {"exists": CHECKS - 1, "created": 1}
        assert stand.server.complete() == CHECKS

    def test_a_job_whose_secret_is_missing_gets_it(
        self, make_config: Callable[..., Config], request_of: Request
    ) -> None:
        stand, request = Stand(make_config, "kubernetes", 100 * CHECKS, throttles=False), request_of(CHECKS)
        stand.send(request)
        unnamed = stand.server.secrets.keys() - set(stand.server.named())
        stand.server.secrets.pop(sorted(unnamed)[0])
        assert stand.send(request) == ["exists"] * CHECKS
        assert stand.server.complete() == CHECKS
