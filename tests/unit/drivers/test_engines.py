"""One name over several engines: each driver looks at the others before its job starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.driver import Driver, Due, Retention
from runner.drivers.local.driver import LocalDriver
from runner.drivers.memory import MemoryDriver
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import CLAIM, OPEN, PREFIX
from runner.errors import Conflict, Unavailable
from runner.jobs import JobSpec
from runner.observation import Observation, Outcome
from runner.runtime.clock import SystemClock
from tests.conformance.jobs import SecretResolver, cancellation, job
from tests.harness.deadlines import within
from tests.harness.interleaving import give_way, interleaved
from tests.unit.drivers.kubernetes.test_claims import NAME, Servers
from tests.unit.drivers.kubernetes.test_claims import make as make_kubernetes
from tests.unit.drivers.kubernetes.test_claims import servers as servers  # a fixture
from tests.unit.drivers.nomad.test_claims import Agent
from tests.unit.drivers.nomad.test_claims import agent as agent  # a fixture

make = make_kubernetes
Engines = dict[str, Driver]


@pytest.fixture
def engines(
    servers: Servers, agent: Agent, make: Callable[..., Driver], make_config: Callable[..., Config], tmp_path: Path
) -> Engines:
    """One driver of each kind, joined."""
    config = make_config(driver="nomad", nomad={"address": "http://nomad:4646", "namespace": "na"})
    client = NomadClient(config.nomad, http=agent, clock=servers.clock)
    secrets = SecretResolver()
    made: Engines = {
        "kubernetes": make(1, pools={"a": {"namespace": "na"}}),
        "nomad": NomadDriver(config, resolve_secrets=secrets, agent=client, clock=servers.clock, random=Random(2)),
        "memory": MemoryDriver(resolve_secrets=secrets, clock=servers.clock),
        "local": LocalDriver(
            tmp_path / "jobs",
            parallelism=1,
            images={"*": msgspec.convert({"command": ["/bin/true"]}, composition.LocalImage)},
            resolve_secrets=secrets,
            clock=SystemClock(),
        ),
    }
    for name, driver in made.items():
        driver.join([other for other_name, other in made.items() if other_name != name])
    return made


def task(fingerprint: str = "f1") -> JobSpec:
    return msgspec.structs.replace(job("shell", name=NAME, fingerprint=fingerprint), pool="a")


def submit(driver: Driver, fingerprint: str = "f1") -> str:
    try:
        return driver.submit(task(fingerprint), within(10))
    except Unavailable as error:
        return error.code


def runnable(engines: Engines, servers: Servers, agent: Agent) -> list[str]:
    """The engines in which the job may run."""
    at_once = [name for name in ("memory", "local") if any(each.name == NAME for each in engines[name].list())]
    variable = agent.variables.get(("na", PREFIX + NAME), {"Items": {}})
    clusters = [("kubernetes", bool(servers.released())), ("nomad", OPEN in variable["Items"])]
    return at_once + [name for name, runs in clusters if runs]


@pytest.mark.parametrize("first", ["kubernetes", "nomad", "memory", "local"])
def test_a_job_is_found_from_every_engine(engines: Engines, servers: Servers, agent: Agent, first: str) -> None:
    assert submit(engines[first]) == "created"
    for name, driver in engines.items():
        assert submit(driver) == "exists", name
        if name != first:
            with pytest.raises(Conflict):
                submit(driver, "other")
    assert runnable(engines, servers, agent) == [first]
    assert engines[first].cancel(cancellation(NAME), within(10), tombstone=False) == "cancelled"
    assert {submit(driver) for driver in engines.values()} == {"cancelled"}


@pytest.mark.parametrize("names", [("kubernetes", "nomad"), ("kubernetes", "memory"), ("nomad", "local")])
@pytest.mark.parametrize("seed", range(60))
def test_two_engines_at_once_in_any_order(
    engines: Engines, servers: Servers, agent: Agent, seed: int, names: tuple[str, str]
) -> None:
    servers.uids = Random(seed)
    servers.interrupt = agent.interrupt = lambda _number, when: give_way() if when == "before" else None
    states = interleaved(Random(seed), *[lambda name=name: submit(engines[name]) for name in names])
    servers.interrupt = agent.interrupt = lambda _number, _when: None
    assert states.count("created") == 1
    assert set(states) <= {"created", "exists", "unavailable"}
    assert runnable(engines, servers, agent) == [names[states.index("created")]]


def test_an_engine_that_does_not_answer_stops_nobody(engines: Engines, servers: Servers, agent: Agent) -> None:
    def down(_method: str, _path: str) -> None:
        raise Unavailable("the agent is down")

    agent.before = down
    assert submit(engines["kubernetes"]) == "created"
    assert servers.notes("na")["orchestrator/claim"] == "assumed"
    assert submit(engines["memory"]) == "exists"


def down(_number: int, _when: str) -> None:
    raise Unavailable("it is down")


def up(_number: int, _when: str) -> None:
    """It answers."""


class Two:
    """Kubernetes and Nomad, joined."""

    def __init__(self, engines: Engines, servers: Servers, agent: Agent) -> None:
        self.engines = {name: engines[name] for name in ("kubernetes", "nomad")}
        self.servers, self.agent = servers, agent
        self.doubles: dict[str, Servers | Agent] = {"kubernetes": servers, "nomad": agent}
        for name, driver in self.engines.items():
            driver.join([each for other, each in self.engines.items() if other != name])

    def submit(self, to: str, *, silent: str = "") -> None:
        if silent:
            self.doubles[silent].interrupt = down
        assert submit(self.engines[to]) == "created"
        self.servers.interrupt = self.agent.interrupt = up

    def reconcile(self, *names: str) -> None:
        for name in names:
            self.servers.clock.advance(20)
            self.engines[name].reconcile()

    def seen(self, name: str) -> Observation:
        return next(each for each in self.engines[name].list() if each.name == NAME)

    @property
    def claims(self) -> dict[str, str]:
        items = self.agent.variables.get(("na", PREFIX + NAME), {"Items": {}})["Items"]
        return {"kubernetes": self.servers.notes("na").get("orchestrator/claim", ""), "nomad": items.get(CLAIM, "")}

    @property
    def running(self) -> list[str]:
        """Where it was not ended."""
        spec = self.servers.namespaces["na"].jobs[NAME]["spec"]
        job = self.agent.jobs.get(("na", NAME))
        found = {"kubernetes": spec.get("parallelism") != 0, "nomad": job is not None and not job["Stop"]}
        return [name for name, runs in found.items() if runs]


@pytest.fixture
def two(engines: Engines, servers: Servers, agent: Agent) -> Two:
    return Two(engines, servers, agent)


KEPT = Retention(86400, 86400)
FAILED = Outcome(reason="unschedulable", code=5102, hmessage="No node took it.")
ORDERS = [("kubernetes", "nomad"), ("nomad", "kubernetes")]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", ORDERS)
def test_of_two_assumed_jobs_one_stays(two: Two, order: tuple[str, str], seed: int) -> None:
    two.servers.uids = Random(seed)
    two.submit("kubernetes", silent="nomad")
    two.submit("nomad", silent="kubernetes")
    assert set(two.claims.values()) == {"assumed"}
    assert [list(two.engines[name].due(KEPT)) for name in order] == [[Due.settling(NAME, "na")]] * 2
    two.reconcile(*order)
    assert [list(two.engines[name].due(KEPT)) for name in order] == [[], []]
    assert sorted(two.claims.values()) == ["admitted", "yielded"]
    assert two.running == [name for name, claim in two.claims.items() if claim == "admitted"]


@pytest.mark.parametrize(("silent", "other"), ORDERS)
def test_an_assumed_job_yields_to_one_that_was_admitted_before(two: Two, silent: str, other: str) -> None:
    two.submit(silent)
    two.submit(other, silent=silent)
    seen = two.seen(other)
    assert seen.unsettled
    two.reconcile(silent, other)
    assert two.claims == {silent: "admitted", other: "yielded"}
    assert two.running == [silent]
    found = two.engines[other].find(seen)
    assert found is not None
    assert found.reported  # nobody publishes its end


@pytest.mark.parametrize(("silent", "other"), ORDERS)
def test_an_assumed_job_that_has_ended_yields_before_its_end_is_published(two: Two, silent: str, other: str) -> None:
    two.submit(silent)
    two.submit(other, silent=silent)
    assert two.engines[other].end(two.seen(other), FAILED) is False
    assert two.running == [silent]


@pytest.mark.parametrize(("silent", "other"), ORDERS)
def test_an_end_that_was_published_while_an_engine_was_silent_stays(two: Two, silent: str, other: str) -> None:
    two.submit(silent)
    two.submit(other, silent=silent)
    driver, seen = two.engines[other], two.seen(other)
    two.doubles[silent].interrupt = down
    assert driver.end(seen, FAILED)
    assert driver.mark_reported(seen, FAILED)
    two.doubles[silent].interrupt = up
    two.reconcile(silent, other, other)
    assert two.claims == {silent: "yielded", other: "admitted"}
    assert silent not in two.running


def test_an_assumed_job_that_is_alone_is_admitted(two: Two) -> None:
    two.submit("kubernetes", silent="nomad")
    two.reconcile("kubernetes")
    assert two.claims == {"kubernetes": "admitted", "nomad": ""}
    asked = len(two.agent.asked)
    two.reconcile("kubernetes")
    assert len(two.agent.asked) == asked


def test_a_job_that_has_published_its_success_does_not_yield(two: Two) -> None:
    two.submit("nomad", silent="kubernetes")
    exit_code = {"Type": "Terminated", "ExitCode": 0, "Time": 1, "Details": {"exit_code": "0"}}
    two.agent.allocate(NAME, "complete", namespace="na", marvin=("dead", False, [exit_code]))
    place = two.engines["nomad"].places()[0]
    stands = place.standing(NAME, within(10))
    assert stands is not None
    assert not place.move(stands, "yielded", within(10))
    assert two.agent.items(NAME, "na")[CLAIM] == "assumed"


def test_a_claim_elsewhere_whose_request_died_yields(engines: Engines, servers: Servers, agent: Agent) -> None:
    """A job on this host is made at once, so its claim is less than all others."""
    place = engines["nomad"].places()[0]
    items = {"orchestrator_fingerprint": "f1", "orchestrator_nonce": "0", CLAIM: "new"}
    agent._write("na", PREFIX + NAME, items, 0)
    assert submit(engines["local"]) == "created"
    stands = place.standing(NAME, within(10))
    assert stands is not None
    assert stands.yielded
    assert submit(engines["nomad"]) == "exists"


def test_the_composition_joins_the_engines(make_config: Callable[..., Config], tmp_path: Path) -> None:
    local = {"directory": str(tmp_path), "images": {"*": {"command": ["/bin/true"]}}}
    pools = {"here": {"driver": "local"}, "there": {"driver": "memory"}}
    made = composition.drivers(make_config(driver="local", local=local, pools=pools, defaultPool="here"))
    here, there = (msgspec.structs.replace(task(), pool=pool) for pool in ("here", "there"))
    assert made["memory"].submit(there, within(10)) == "created"
    assert made["local"].submit(here, within(10)) == "exists"
