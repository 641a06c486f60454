"""Names that several namespaces compete for: whatever a request finds, and wherever it dies, one job is released."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.drivers.http.client import HttpResponse, Unsettled
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import CLAIM, OPEN, PREFIX
from runner.errors import Conflict, Unavailable
from runner.jobs import JobSpec
from runner.observation import Observation, Outcome
from tests.conformance.jobs import SecretResolver, cancellation, job
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.interleaving import give_way, interleaved
from tests.unit.drivers.nomad.agent import FakeAgent

POOLS = {"a": {"namespace": "na"}, "b": {"namespace": "nb"}}
NAME = "analysis-1"
DELETED = Outcome(reason="deleted", code=5109, hmessage="")
LONGEST = 14
"""More requests than one submit needs."""


class Died(BaseException):
    """The process is killed."""


class Agent(FakeAgent):
    """`interrupt` is called before each request, and after it, with the request's number."""

    interrupt: Callable[[int, str], None] = staticmethod(lambda _number, _when: None)
    number = 0

    def request(self, *arguments: Any, **rest: Any) -> HttpResponse:
        self.number += 1
        number = self.number
        self.interrupt(number, "before")
        response = super().request(*arguments, **rest)
        self.interrupt(number, "after")
        return response


@pytest.fixture
def agent() -> Agent:
    return Agent(ManualClock())


@pytest.fixture
def make(agent: Agent, make_config: Callable[..., Config]) -> Callable[..., NomadDriver]:
    def driver(seed: int, pools: Any = POOLS) -> NomadDriver:
        nomad = {"address": "http://nomad:4646", "namespace": "na"}
        config = make_config(driver="nomad", nomad=nomad, pools=pools, defaultPool="a")
        client = NomadClient(config.nomad, http=agent, clock=agent.clock)
        return NomadDriver(
            config, resolve_secrets=SecretResolver(), agent=client, clock=agent.clock, random=Random(seed)
        )

    return driver


def task(pool: str, **fields: Any) -> JobSpec:
    return msgspec.structs.replace(job("shell", name=NAME, **fields), pool=pool)


def submit(driver: NomadDriver, pool: str, *, many: bool = False, **fields: Any) -> str:
    """The state, or the code of the error. With `many`, as one of the many jobs of a request."""
    wanted, deadline = task(pool, **fields), within(10, driver._clock)
    try:
        chosen = driver.submitter([wanted], deadline, lambda _: None) if many else driver.submit
        return chosen(wanted, deadline)
    except Unavailable as error:
        return error.code
    except Conflict as error:
        return error.code


def open_in(agent: Agent) -> list[str]:
    """The namespaces where the job may run."""
    return [where for (where, path), each in agent.variables.items() if path == PREFIX + NAME and OPEN in each["Items"]]


def settle(agent: Agent, make: Callable[..., NomadDriver], seed: int, *, many: bool = False) -> None:
    """Repeat the request through both pools until it is accepted; then exactly one job is released."""
    agent.interrupt = lambda _number, _when: None
    for pool in Random(seed).sample(["a", "b"], 2):
        driver = make(100 + seed)
        for _ in range(5):
            agent.clock.advance(2)
            if (state := submit(driver, pool, many=many)) != "unavailable":
                break
        assert state in ("created", "exists")
    (where,) = open_in(agent)
    assert [namespace for namespace, name in agent.jobs if name == NAME] == [where]


def test_one_place_costs_no_more_than_before(make: Callable[..., NomadDriver], agent: Agent) -> None:
    assert submit(make(1, pools={"a": {"namespace": "na"}}), "a") == "created"
    assert agent.asked == [f"POST var/{PREFIX}{NAME}", "POST jobs"]
    assert CLAIM not in agent.items(NAME, "na")


def test_two_places_cost_two_reads_and_one_write_more(make: Callable[..., NomadDriver], agent: Agent) -> None:
    assert submit(make(1), "a") == "created"
    assert len(agent.writes()) == 3
    assert agent.items(NAME, "na")[CLAIM] == "admitted"
    (seen,) = make(2).list()
    assert (seen.place, seen.phase) == ("na", "waiting")


def test_a_repeat_with_another_pool_makes_nothing(make: Callable[..., NomadDriver], agent: Agent) -> None:
    assert submit(make(1), "a") == "created"
    before = len(agent.writes())
    assert submit(make(2), "b") == "exists"
    assert len(agent.writes()) == before
    with pytest.raises(Conflict):
        make(3).submit(task("b", fingerprint="other"), within(10, agent.clock))
    assert make(4).cancel(cancellation(NAME), within(10, agent.clock), tombstone=False) == "cancelled"
    assert submit(make(5), "b") == "cancelled"


def test_a_claim_is_no_job_for_a_cancel(make: Callable[..., NomadDriver], agent: Agent) -> None:
    """Every place is then closed by a tombstone, so that no other claim to the name is admitted later."""
    kill_at(agent, 2, "after")
    with pytest.raises(Died):
        submit(make(1), "a")
    agent.interrupt = lambda _number, _when: None
    assert agent.items(NAME, "na")[CLAIM] == "new"
    assert make(2).cancel(cancellation(NAME), within(10, agent.clock), tombstone=False) is None
    assert make(2).cancel(cancellation(NAME), within(10, agent.clock), tombstone=True) == "cancelled"
    assert {submit(make(3), pool) for pool in ("a", "b")} == {"cancelled"}
    assert open_in(agent) == []


def test_an_abandoned_claim_yields_once_another_place_has_the_name(
    make: Callable[..., NomadDriver], agent: Agent
) -> None:
    kill_at(agent, 2, "after")
    with pytest.raises(Died):
        submit(make(1), "a")
    agent.interrupt = lambda _number, _when: None
    agent.variables[("nb", PREFIX + NAME)] = {**agent.variables[("na", PREFIX + NAME)]}
    agent.variables[("nb", PREFIX + NAME)]["Items"] = {**agent.items(NAME, "na"), CLAIM: "admitted", OPEN: "yes"}
    driver = make(2)
    driver.reconcile()
    assert agent.items(NAME, "na")[CLAIM] == "new", "its request may be alive"
    agent.clock.advance(61)
    driver.reconcile()
    assert agent.items(NAME, "na")[CLAIM] == "yielded"
    assert [seen for seen in driver.list() if not seen.reported and seen.place == "na"] == []


def seen_gone(driver: NomadDriver, agent: Agent) -> Observation:
    """A name whose request has died, as it is seen after so long that its submit counts as dead."""
    agent.clock.advance(driver._cache.submit_seconds + 1)
    (seen,) = driver.list()
    assert (seen.phase, seen.unsettled) == ("gone", True)
    return seen


@pytest.mark.parametrize("death", [0, *range(1, LONGEST)])
@pytest.mark.parametrize("number", range(1, LONGEST))
def test_a_dead_claim_is_not_ended_once_a_repeat_has_admitted_it(
    make: Callable[..., NomadDriver], agent: Agent, number: int, death: int
) -> None:
    """The repeat runs before the given request of the end, and is killed before one of its own: the job may follow."""
    kill_at(agent, 2, "after")
    with pytest.raises(Died):
        submit(make(1), "a")
    agent.interrupt = lambda _number, _when: None
    tracker = make(2)
    seen = seen_gone(tracker, agent)
    wanted = agent.number + number

    def interrupt(at: int, when: str) -> None:
        if (at, when) == (wanted, "before"):
            kill_at(agent, death, "before")
            with suppress(Died):
                submit(make(3), "a")
            agent.interrupt = lambda _number, _when: None

    agent.interrupt = interrupt
    try:
        ended = tracker.end(seen, DELETED)
    except Unavailable:
        ended = False
    assert ended is (open_in(agent) == [])
    agent.interrupt = lambda _number, _when: None
    assert submit(make(4), "a") in ("created", "exists")
    assert [("na", NAME)] * len(open_in(agent)) == list(agent.jobs)


def test_a_job_that_is_registered_while_its_end_is_tried_again_is_not_ended(
    make: Callable[..., NomadDriver], agent: Agent
) -> None:
    """A request was sent, and Nomad has applied it only when its submit seemed to be dead."""
    assert submit(make(1), "a") == "created"
    late = agent.jobs.pop(("na", NAME))
    tracker = make(2)
    seen = seen_gone(tracker, agent)

    def fail_once(method: str, _path: str) -> None:
        if method == "POST":
            agent.before = lambda _method, _path: None
            agent.jobs[("na", NAME)] = late
            raise Unsettled("reset")

    agent.before = fail_once
    assert tracker.end(seen, DELETED) is False
    assert open_in(agent) == ["na"]


def kill_at(agent: Agent, number: int, when: str) -> None:
    wanted = agent.number + number

    def interrupt(at: int, moment: str) -> None:
        if (at, moment) == (wanted, when):
            raise Died

    agent.interrupt = interrupt


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, LONGEST))
@pytest.mark.parametrize("many", [False, True])
def test_wherever_a_request_dies_its_repeat_completes_it(
    make: Callable[..., NomadDriver], agent: Agent, many: bool, number: int, when: str
) -> None:
    kill_at(agent, number, when)
    with suppress(Died):
        submit(make(1), "a")
    assert len(open_in(agent)) <= 1
    settle(agent, make, number, many=many)


@pytest.mark.parametrize("death", [0, *range(1, LONGEST)])
@pytest.mark.parametrize("number", range(1, LONGEST))
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
@pytest.mark.parametrize("many", [False, True])
def test_another_request_in_between_wherever_it_dies(
    make: Callable[..., NomadDriver], agent: Agent, many: bool, number: int, death: int, seeds: tuple[int, int]
) -> None:
    """The second request runs before the given request of the first one, and is killed at one of its own."""

    def interrupt(at: int, when: str) -> None:
        if (at, when) == (number, "before"):
            kill_at(agent, death, "after")
            with suppress(Died):
                submit(make(seeds[1]), "b")
            agent.interrupt = lambda _number, _when: None

    agent.interrupt = interrupt
    state = submit(make(seeds[0]), "a", many=many)
    assert state in ("created", "exists", "unavailable")
    assert len(open_in(agent)) <= 1
    assert state == "unavailable" or open_in(agent)
    settle(agent, make, number, many=many)


@pytest.mark.parametrize("other", ["f1", "other"])
@pytest.mark.parametrize("seed", range(150))
def test_three_requests_at_once_in_any_order(
    make: Callable[..., NomadDriver], agent: Agent, seed: int, other: str
) -> None:
    """With one task, or with two: then the second is a conflict, or is to be repeated."""
    order, drivers = Random(seed), [make(seed * 3 + each) for each in range(3)]
    agent.interrupt = lambda _number, when: give_way() if when == "before" else None
    wanted = [("a", "f1"), ("b", other), ("b", "f1")]
    calls = [
        lambda driver=driver, pool=pool, text=text: submit(driver, pool, fingerprint=text)
        for driver, (pool, text) in zip(drivers, wanted, strict=True)
    ]
    states = interleaved(order, *calls)
    assert states.count("created") <= 1
    assert set(states) <= {"created", "exists", "unavailable"} | ({"conflict"} if other != "f1" else set())
    assert len(open_in(agent)) <= 1
    assert open_in(agent) or not set(states) & {"created", "exists"}
    assert [where for where, name in agent.jobs if name == NAME] in ([], open_in(agent))
