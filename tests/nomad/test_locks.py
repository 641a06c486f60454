"""The Variable as the lock of a job. Nomad's own EnforceIndex can accept two concurrent registers as the first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from runner import composition
from runner.config.types import Config
from runner.drivers.driver import Retention
from runner.drivers.http.client import HttpClient, HttpResponse, Route
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.specification import specification
from runner.drivers.nomad.variable import FINGERPRINT, NONCE, variable_path
from runner.errors import Conflict
from runner.jobs import Deadlines, JobSpec
from runner.observation import Outcome
from runner.runtime.clock import Deadline, SystemClock
from tests.conformance.jobs import POOL, Program, cancellation, job, new_name
from tests.harness.deadlines import within
from tests.nomad.access import Nomad
from tests.nomad.seen import find, last, outcome, until

NOWHERE = {POOL: {"datacenters": ["nowhere"]}}


def test_of_concurrent_requests_for_one_name_one_is_accepted(
    nomad: Nomad, make_driver: Callable[..., NomadDriver]
) -> None:
    drivers = [make_driver(pools=NOWHERE) for _ in range(4)]
    for _ in range(15):
        name, start = new_name(), threading.Barrier(4)
        with ThreadPoolExecutor(4) as callers:
            each = [
                callers.submit(_accepted, drivers[n], job("shell", name=name, fingerprint=str(n)), start)
                for n in range(4)
            ]
            accepted = [got for future in each if (got := future.result())]
        (fingerprint,) = accepted
        found = nomad.get(f"job/{name}")
        assert found["Meta"][FINGERPRINT] == fingerprint
        assert found["Version"] == 0


def _accepted(driver: NomadDriver, wanted: JobSpec, start: threading.Barrier) -> str:
    start.wait()
    try:
        driver.submit(wanted, within(10))
    except Conflict:
        return ""
    return wanted.fingerprint


def _asked(path: str) -> list[str]:
    return path.partition("?")[0].removeprefix("/v1/").split("/")


def _driver(config: Config, http: HttpClient) -> NomadDriver:
    outside = composition.system()._replace(http=lambda: http)
    return composition.nomad(config, lambda _: {"TOKEN": "t"}, outside)


class KilledHttpClient(CurlHttpClient):
    """Exits instead of sending a request with this method and path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(SystemClock())
        self._fatal = (method, path)

    def request(self, route: Route, method: str, path: str, deadline: Deadline, **rest: Any) -> HttpResponse:
        if (method, _asked(path)[0]) == self._fatal:
            raise SystemExit("killed")
        return super().request(route, method, path, deadline, **rest)


class BlockedHttpClient(CurlHttpClient):
    """Blocks before it registers a job, until `released` is set."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.reached, self.released = threading.Event(), threading.Event()

    def request(self, route: Route, method: str, path: str, deadline: Deadline, **rest: Any) -> HttpResponse:
        if (method, _asked(path)) == ("POST", ["jobs"]):
            self.reached.set()
            assert self.released.wait(20)
        return super().request(route, method, path, deadline, **rest)


@pytest.fixture
def config(nomad: Nomad, make_config: Callable[..., Config]) -> Config:
    return nomad.config(make_config)


@contextmanager
def killed_before(config: Config, method: str, path: str) -> Iterator[NomadDriver]:
    """A driver that is killed instead of making a request of that kind."""
    with pytest.raises(SystemExit):
        yield _driver(config, KilledHttpClient(method, path))


def _killed(config: Config, method: str, path: str, act: Callable[[NomadDriver], object]) -> None:
    with killed_before(config, method, path) as driver:
        act(driver)


def test_after_a_kill_between_variable_and_job_a_repeat_creates_the_job(
    nomad: Nomad, driver: NomadDriver, config: Config
) -> None:
    wanted = job("shell")
    _killed(config, "POST", "jobs", lambda driver: driver.submit(wanted, within(5)))
    assert nomad.get("jobs") == []
    assert len(nomad.get("vars")) == 1

    assert driver.submit(wanted, within(10)) == "created"
    assert outcome(driver, wanted.name).reason == "succeeded"


def test_of_two_delayed_submits_the_first_to_register_creates_the_job(nomad: Nomad, config: Config) -> None:
    """The second submit has taken over the Variable. Its registration then finds the first submit's job."""
    wanted, agents = job("shell"), (BlockedHttpClient(), BlockedHttpClient())
    with ThreadPoolExecutor(2) as callers:
        states = []
        for agent in agents:
            driver = _driver(config, agent)
            states.append(callers.submit(driver.submit, wanted, within(20)))
            assert agent.reached.wait(10), "the second submit waits a second, then writes the Variable again"
        for agent, state in zip(agents, states, strict=True):
            agent.released.set()
            state.result()
    assert [state.result() for state in states] == ["created", "exists"]
    assert [each["ID"] for each in nomad.get("jobs")] == [wanted.name]
    variable, registered = nomad.get(f"var/{variable_path(wanted.name)}"), nomad.get(f"job/{wanted.name}")
    assert variable["Items"][NONCE] == registered["Meta"][NONCE]


def test_a_job_whose_variable_another_submit_took_over_and_then_died_is_reported_once(
    nomad: Nomad, driver: NomadDriver, config: Config
) -> None:
    """The second submit is killed before it can register the job. The first one's registration arrives after that."""
    wanted, late = job("shell", Program(exit_code=3)), BlockedHttpClient()
    with ThreadPoolExecutor(1) as callers:
        state = callers.submit(_driver(config, late).submit, wanted, within(20))
        assert late.reached.wait(10)
        _killed(config, "POST", "jobs", lambda second: second.submit(wanted, within(10)))
        late.released.set()
        assert state.result() == "created"
    registered = nomad.get(f"job/{wanted.name}")["Meta"][NONCE]
    assert nomad.get(f"var/{variable_path(wanted.name)}")["Items"][NONCE] != registered

    ended, seen = outcome(driver, wanted.name), find(driver, wanted.name)
    assert seen is not None
    assert (ended.reason, seen.identity) == ("analyzer_failed", registered)
    assert driver.mark_reported(seen, ended)
    marked = find(driver, wanted.name)
    assert marked is not None
    assert (marked.reported, marked.identity) == (True, registered)


def test_after_a_kill_between_variable_and_job_without_a_repeat_it_is_ended_and_a_late_repeat_gets_that_answer(
    nomad: Nomad, driver: NomadDriver, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job("shell")
    _killed(config, "POST", "jobs", lambda driver: driver.submit(wanted, within(5)))
    assert find(driver, wanted.name) is None  # the submit may still be in progress

    monkeypatch.setattr(driver._cache, "submit_seconds", 0.0)
    time.sleep(1.1)  # the agent sends its time in whole seconds
    ended = outcome(driver, wanted.name)
    assert ended.reason == "deleted"
    seen = find(driver, wanted.name)
    assert seen is not None
    assert seen.report == wanted.report
    assert driver.end(seen, ended)
    assert driver.mark_reported(last(driver, wanted.name), ended)
    assert driver.submit(wanted, within(10)) == "exists"
    assert nomad.get("jobs") == []


def test_after_a_kill_between_closing_the_variable_and_stopping_the_job_reconcile_stops_it(
    driver: NomadDriver, config: Config
) -> None:
    wanted = job("shell", Program(endless=True))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    _killed(config, "DELETE", "job", lambda each: each.cancel(cancellation(wanted.name), within(5), tombstone=True))
    assert outcome(driver, wanted.name).reason == "cancelled"


def test_a_registration_that_arrives_after_the_cancellation_starts_nothing(
    nomad: Nomad, driver: NomadDriver, config: Config
) -> None:
    """A submit is delayed between its two steps. The second arrives after the name was cancelled."""
    wanted = job("shell", Program(prints="it ran"))
    _killed(config, "POST", "jobs", lambda driver: driver.submit(wanted, within(5)))
    assert driver.cancel(cancellation(wanted.name), within(5), tombstone=True) == "cancelled"
    clock = SystemClock()
    late = Namespace(NomadClient(config.nomad, http=CurlHttpClient(clock), clock=clock), nomad.namespace)
    assert late.register(specification(wanted, config), within(5))

    time.sleep(3)  # longer than a task takes to start
    (allocation,) = nomad.get(f"job/{wanted.name}/allocations")
    assert "Started" not in [event["Type"] for event in allocation["TaskStates"]["marvin"]["Events"]]
    assert outcome(driver, wanted.name).reason == "cancelled"
    assert driver.submit(wanted, within(10)) == "cancelled"


DONE = Outcome(reason="succeeded", code=0, hmessage="")


def test_a_job_that_nomad_has_removed_keeps_its_name_until_the_retention_is_over(
    nomad: Nomad, driver: NomadDriver
) -> None:
    wanted = job("shell")
    driver.submit(wanted, within(10))
    outcome(driver, wanted.name)
    assert driver.mark_reported(last(driver, wanted.name), DONE)
    nomad.purge(wanted.name)
    assert driver.submit(wanted, within(10)) == "exists"
    with pytest.raises(Conflict):
        driver.submit(msgspec.structs.replace(wanted, fingerprint="other"), within(10))
    assert nomad.get("jobs") == []

    assert driver.reconcile(Retention(reported=3600, orphaned=3600)) == 0
    time.sleep(1.1)
    assert driver.reconcile(Retention(reported=0, orphaned=3600)) == 1
    assert driver.submit(wanted, within(10)) == "created"


def test_a_job_that_nomad_removed_before_its_report_is_still_reported(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = job("shell", Program(endless=True))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    nomad.purge(wanted.name)
    ended = outcome(driver, wanted.name)
    assert ended.reason == "deleted"
    assert driver.mark_reported(last(driver, wanted.name), ended)
    assert driver.submit(wanted, within(10)) == "created"


def test_a_job_that_an_operator_stopped_is_deleted(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = job("shell", Program(endless=True))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    nomad.delete(f"job/{wanted.name}")
    assert outcome(driver, wanted.name).reason == "deleted"
    assert driver.submit(wanted, within(10)) == "exists"


def test_a_job_of_another_program_with_that_name_is_a_conflict_and_is_not_changed(
    nomad: Nomad, driver: NomadDriver
) -> None:
    wanted = job("shell")
    theirs = {"ID": wanted.name, "Name": wanted.name, "Type": "batch", "Datacenters": ["nowhere"]}
    theirs["TaskGroups"] = [
        {"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec", "Config": {"command": "true"}}]}
    ]
    nomad.put("jobs", {"Job": theirs})
    with pytest.raises(Conflict):
        driver.submit(wanted, within(5))
    assert nomad.get("vars") == []
    assert find(driver, wanted.name) is None


def test_the_name_of_a_job_that_was_reported_as_deleted_can_be_cancelled(nomad: Nomad, driver: NomadDriver) -> None:
    """The name is free, so without the tombstone a late repeat of the request would create the job."""
    wanted = job("shell", Program(endless=True))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    nomad.purge(wanted.name)
    assert driver.mark_reported(last(driver, wanted.name), outcome(driver, wanted.name))

    assert driver.cancel(cancellation(wanted.name), within(5), tombstone=False) is None
    assert driver.cancel(cancellation(wanted.name), within(5), tombstone=True) == "cancelled"
    seen = find(driver, wanted.name)
    assert seen is not None
    assert (seen.reported, seen.cancellation) == (False, cancellation(wanted.name).report)
    assert driver.submit(wanted, within(10)) == "cancelled"
    assert nomad.get("jobs") == []


class TestADeletedVariable:
    """The driver restores it from the job's Meta."""

    def test_does_not_prevent_the_report(self, nomad: Nomad, driver: NomadDriver) -> None:
        wanted = job("shell", Program(exit_code=3))
        driver.submit(wanted, within(10))
        ended = outcome(driver, wanted.name)
        nomad.delete(f"var/{variable_path(wanted.name)}")
        assert outcome(driver, wanted.name) == ended
        assert driver.mark_reported(last(driver, wanted.name), ended)
        seen = find(driver, wanted.name)
        assert seen is not None
        assert (seen.reported, seen.report) == (True, wanted.report)

    def test_does_not_prevent_the_end_at_the_deadline(self, nomad: Nomad, driver: NomadDriver) -> None:
        wanted = job("shell", Program(endless=True), deadlines=Deadlines(queue=1, clone=1, run=3))
        driver.submit(wanted, within(10))
        until(driver, wanted.name, lambda seen: seen.phase == "running")
        nomad.delete(f"var/{variable_path(wanted.name)}")
        assert outcome(driver, wanted.name).reason == "timed_out"
        assert nomad.get(f"job/{wanted.name}")["Stop"]

    def test_does_not_prevent_a_cancel(self, nomad: Nomad, driver: NomadDriver) -> None:
        wanted = job("shell", Program(endless=True))
        driver.submit(wanted, within(10))
        until(driver, wanted.name, lambda seen: seen.phase == "running")
        nomad.delete(f"var/{variable_path(wanted.name)}")
        assert driver.cancel(cancellation(wanted.name), within(5), tombstone=False) == "cancelled"
        assert outcome(driver, wanted.name).reason == "cancelled"
        seen = find(driver, wanted.name)
        assert seen is not None
        assert seen.cancellation == cancellation(wanted.name).report
        assert nomad.get(f"job/{wanted.name}")["Stop"]
