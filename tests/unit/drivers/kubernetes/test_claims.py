"""Names that several namespaces compete for: whatever a request finds, and wherever it dies, one job is released."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.drivers.kubernetes.api import ApiServerResponse
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import CANCELLED, CLAIM, REPORTED, SECRET
from runner.errors import Conflict, Unavailable
from runner.jobs import JobSpec
from runner.observation import Observation, Outcome
from runner.runtime.clock import Deadline
from tests.conformance.jobs import SecretResolver, cancellation, job
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.interleaving import give_way, interleaved
from tests.unit.drivers.kubernetes.server import Server

POOLS = {"a": {"namespace": "na"}, "b": {"namespace": "nb"}}
NAME = "analysis-1"
LONGEST = 10
"""More requests than one submit needs."""

OVERDUE = Outcome(reason="unschedulable", code=5102, hmessage="Nobody completed it.")


class Died(BaseException):
    """The process is killed."""


class Servers:
    """Two namespaces of one API server. `interrupt` is called before each request, and after it, with its number."""

    def __init__(self) -> None:
        self.namespaces = {"na": Server(), "nb": Server()}
        self.secrets: dict[str, set[str]] = {"na": set(), "nb": set()}
        self.asked: list[str] = []
        self.clock = ManualClock()
        self.interrupt: Callable[[int, str], None] = lambda _number, _when: None
        self.uids = Random(5)
        self.clock_ahead = 0.0

    def call(self, method: str, path: str, deadline: Deadline, **rest: Any) -> ApiServerResponse:
        self.asked.append(f"{method} {path.partition('/namespaces/')[2]}")
        number = len(self.asked)
        self.interrupt(number, "before")
        response = self._answer(method, path, deadline, **rest)
        self.interrupt(number, "after")
        return response

    def _answer(self, method: str, path: str, deadline: Deadline, **rest: Any) -> ApiServerResponse:
        place, kind = path.partition("/namespaces/")[2].split("/")[:2]
        if kind == "secrets":
            known = rest["body"]["metadata"]["name"] in self.secrets[place]
            self.secrets[place].add(rest["body"]["metadata"]["name"])
            return ApiServerResponse(409, b'{"reason": "AlreadyExists"}') if known else ApiServerResponse(201, b"{}")
        response = self.namespaces[place].call(method, path, deadline, **rest)
        if method == "POST" and response.status == 201:
            made = self.namespaces[place].jobs[NAME]
            made["metadata"] |= {"uid": f"uid-{self.uids.random()}", "creationTimestamp": "2026-11-27T10:00:00Z"}
            return ApiServerResponse(201, msgspec.json.encode(made))
        return response

    def notes(self, place: str) -> dict[str, str]:
        found: dict[str, str] = self.namespaces[place].jobs[NAME]["metadata"]["annotations"]
        return found

    def released(self) -> list[str]:
        """The namespaces where the job has its Secret, so its containers start."""
        found = [place for place, each in self.namespaces.items() if NAME in each.jobs]
        return [place for place in found if self.notes(place).get(SECRET) in self.secrets[place]]

    def expire(self) -> None:
        """The time-to-live removes the Jobs that have yielded."""
        for each in self.namespaces.values():
            if NAME in each.jobs and "ttlSecondsAfterFinished" in each.jobs[NAME]["spec"]:
                del each.jobs[NAME]


@pytest.fixture
def servers() -> Servers:
    return Servers()


Make = Callable[..., KubernetesDriver]


@pytest.fixture
def make(servers: Servers, make_config: Callable[..., Config]) -> Make:
    def driver(seed: int, pools: Any = POOLS) -> KubernetesDriver:
        config = make_config(driver="kubernetes", kubernetes={"namespace": "na"}, pools=pools, defaultPool="a")
        return KubernetesDriver(
            config,
            resolve_secrets=SecretResolver(),
            api=servers,  # type: ignore[arg-type]
            clock=servers.clock,
            random=Random(seed),
        )

    return driver


def task(pool: str, **fields: Any) -> JobSpec:
    return msgspec.structs.replace(job("shell", name=NAME, **fields), pool=pool)


def submit(driver: KubernetesDriver, pool: str, *, many: bool = False, **fields: Any) -> str:
    """The state, or the code of the error. With `many`, as one of the many jobs of a request."""
    wanted, deadline = task(pool, **fields), within(10, driver._clock)
    try:
        chosen = driver.submitter([wanted], deadline, lambda _: None) if many else driver.submit
        return chosen(wanted, deadline)
    except Unavailable as error:
        return error.code
    except Conflict as error:
        return error.code


def kill_at(servers: Servers, number: int, when: str) -> None:
    wanted = len(servers.asked) + number

    def interrupt(at: int, moment: str) -> None:
        if (at, moment) == (wanted, when):
            raise Died

    servers.interrupt = interrupt


def died_after(servers: Servers, driver: KubernetesDriver, request: int, pool: str = "a") -> None:
    kill_at(servers, request, "after")
    with pytest.raises(Died):
        submit(driver, pool)
    servers.interrupt = lambda _number, _when: None


def settle(servers: Servers, make: Make, seed: int, *, many: bool = False) -> None:
    """Repeat the request through both pools until it is accepted; then exactly one job is released."""
    servers.interrupt = lambda _number, _when: None
    for pool in Random(seed).sample(["a", "b"], 2):
        state = submit(make(100 + seed), pool, many=many)
        if state == "unavailable":
            servers.expire()
            state = submit(make(200 + seed), pool, many=many)
        assert state in ("created", "exists")
    assert len(servers.released()) == 1
    (where,) = servers.released()
    assert servers.notes(where)[CLAIM] == "admitted"


def test_one_place_costs_no_more_than_before(make: Make, servers: Servers) -> None:
    assert submit(make(1, pools={"a": {"namespace": "na"}}), "a") == "created"
    assert servers.asked == ["POST na/jobs", "POST na/secrets"]
    assert CLAIM not in servers.notes("na")


def test_two_places_cost_two_reads_and_one_write_more(make: Make, servers: Servers) -> None:
    assert submit(make(1), "a") == "created"
    read = f"GET nb/jobs/{NAME}"
    assert servers.asked == [read, "POST na/jobs", read, f"PATCH na/jobs/{NAME}", "POST na/secrets"]
    assert servers.notes("na")[CLAIM] == "admitted"


def test_a_repeat_with_another_pool_makes_nothing(make: Make, servers: Servers) -> None:
    assert submit(make(1), "a") == "created"
    servers.asked.clear()
    assert submit(make(2), "b") == "exists"
    assert [each for each in servers.asked if each.startswith(("POST nb", "PATCH"))] == []
    with pytest.raises(Conflict):
        make(3).submit(task("b", fingerprint="other"), within(10, servers.clock))
    assert make(4).cancel(cancellation(NAME), within(10, servers.clock), tombstone=False) == "cancelled"
    assert submit(make(5), "b") == "cancelled"


def test_a_claim_is_no_job_for_a_cancel(make: Make, servers: Servers) -> None:
    """Every place then gets a tombstone, so that no other claim to the name is admitted later."""
    died_after(servers, make(1), 2)
    assert make(2).cancel(cancellation(NAME), within(10, servers.clock), tombstone=False) is None
    assert make(2).cancel(cancellation(NAME), within(10, servers.clock), tombstone=True) == "cancelled"
    assert all(CANCELLED in servers.notes(place) for place in servers.namespaces)
    assert {submit(make(3), pool) for pool in ("a", "b")} == {"cancelled"}
    assert servers.released() == []


class TestEndOfAClaimThatNobodyCompletes:
    def seen(self, servers: Servers, driver: KubernetesDriver) -> Observation:
        return next(each for each in driver.list() if each.place == "na")

    def test_it_is_ended_like_any_other_and_then_holds_the_name(self, make: Make, servers: Servers) -> None:
        died_after(servers, make(1), 2)
        assert make(2).end(self.seen(servers, make(2)), OVERDUE)
        assert submit(make(3), "b") == "exists"
        assert NAME not in servers.namespaces["nb"].jobs

    def test_it_yields_if_another_place_has_the_name(self, make: Make, servers: Servers) -> None:
        """Atlas gets one end of a name, so nothing is reported of this one."""
        died_after(servers, make(1), 2)
        there = msgspec.json.decode(msgspec.json.encode(servers.namespaces["na"].jobs[NAME]))
        there["metadata"]["annotations"][CLAIM] = "admitted"
        there["metadata"]["namespace"] = "nb"
        servers.namespaces["nb"].jobs[NAME] = there
        driver, seen = make(2), self.seen(servers, make(2))
        assert not driver.end(seen, OVERDUE)
        assert servers.notes("na")[CLAIM] == "yielded"
        assert REPORTED in servers.namespaces["na"].jobs[NAME]["metadata"]["labels"]
        assert [each.place for each in driver.list()] == ["nb"]
        found = driver.find(seen)
        assert found is not None
        assert found.reported

    def test_one_that_yields_meanwhile_is_not_ended(self, make: Make, servers: Servers) -> None:
        died_after(servers, make(1), 2)
        driver, seen = make(2), self.seen(servers, make(2))

        def yielded() -> None:
            place = driver.places()[0]
            mine = place.standing(NAME, within(10, servers.clock))
            assert mine is not None
            assert place.move(mine, "yielded", within(10, servers.clock))

        servers.namespaces["na"].before = yielded
        assert not driver.end(seen, OVERDUE)
        assert "orchestrator/ended" not in servers.notes("na")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, LONGEST))
@pytest.mark.parametrize("many", [False, True])
def test_wherever_a_request_dies_its_repeat_completes_it(
    make: Make, servers: Servers, many: bool, number: int, when: str
) -> None:
    kill_at(servers, number, when)
    with suppress(Died):
        submit(make(1), "a")
    assert len(servers.released()) <= 1
    settle(servers, make, number, many=many)


@pytest.mark.parametrize("death", [0, *range(1, LONGEST)])
@pytest.mark.parametrize("number", range(1, LONGEST))
@pytest.mark.parametrize("draw", [5, 0])
@pytest.mark.parametrize("many", [False, True])
def test_another_request_in_between_wherever_it_dies(
    make: Make, servers: Servers, many: bool, number: int, death: int, draw: int
) -> None:
    """The second request runs before the given request of the first one, and is killed at one of its own.

    `draw` decides whose uid is the lesser one.
    """
    servers.uids = Random(draw)

    def interrupt(at: int, when: str) -> None:
        if (at, when) == (number, "before"):
            kill_at(servers, death, "after")
            with suppress(Died):
                submit(make(2), "b")
            servers.interrupt = lambda _number, _when: None

    servers.interrupt = interrupt
    state = submit(make(1), "a", many=many)
    assert state in ("created", "exists", "unavailable")
    assert len(servers.released()) <= 1
    assert state == "unavailable" or servers.released()
    settle(servers, make, number, many=many)


@pytest.mark.parametrize("other", ["f1", "other"])
@pytest.mark.parametrize("seed", range(150))
def test_three_requests_at_once_in_any_order(make: Make, servers: Servers, seed: int, other: str) -> None:
    """With one task, or with two: then the second is a conflict, or is to be repeated."""
    order, drivers = Random(seed), [make(each) for each in range(3)]
    servers.uids = Random(seed)
    servers.interrupt = lambda _number, when: give_way() if when == "before" else None
    wanted = [("a", "f1"), ("b", other), ("b", "f1")]
    calls = [
        lambda driver=driver, pool=pool, text=text: submit(driver, pool, fingerprint=text)
        for driver, (pool, text) in zip(drivers, wanted, strict=True)
    ]
    states = interleaved(order, *calls)
    assert states.count("created") <= 1
    assert set(states) <= {"created", "exists", "unavailable"} | ({"conflict"} if other != "f1" else set())
    assert len(servers.released()) <= 1
    assert servers.released() or not set(states) & {"created", "exists"}
