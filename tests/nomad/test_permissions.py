"""The shipped policy has exactly the capabilities that the driver uses. If one is missing, an error names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest

from runner.drivers.driver import Retention
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.leader_variable import PATH
from runner.errors import Rejected, Unavailable
from runner.observation import Observation, Outcome
from tests.conformance.jobs import Program, cancellation, job
from tests.harness.deadlines import within
from tests.harness.rounds import observed
from tests.nomad.access import POLICY, Nomad
from tests.nomad.seen import last, outcome

_TEXT = POLICY.read_text()
CAPABILITIES = re.findall(r'^ *"([a-z-]+)",', _TEXT, re.MULTILINE)
ON_VARIABLES = {
    path: re.findall(r'"([a-z]+)"', listed)
    for path, listed in re.findall(r'path "([^"]+)" {\s+capabilities = \[(.*)\]', _TEXT)
}
JOBS = "nomad/jobs/*"
ALL = [
    *((capability, "") for capability in CAPABILITIES),
    *((capability, path) for path, listed in ON_VARIABLES.items() for capability in listed),
]
CANCELLED = Outcome(reason="cancelled", code=5000, hmessage="")


class Shown:
    """A view that keeps nothing."""

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        list(listed)

    def update(self, seen: Observation) -> None:
        pass

    def left(self, seen: Observation) -> None:
        pass

    def alive(self) -> None:
        pass


def everything(driver: NomadDriver, ended: str) -> None:
    """Every operation of the driver."""
    wanted = job("shell")
    driver.check()
    driver.submit(wanted, within(10))
    observed(driver)
    store = driver.election()
    known = store.read(within(5))
    assert store.write("me", known[1] if known else "", within(5))
    for source in driver.sources():
        source._stream = source._pending.list_all  # type: ignore[attr-defined]  # a session would last for 45 s
        source.follow(Shown())
    driver.end(driver.explain(last(driver, wanted.name)), Outcome(reason="unschedulable", code=5102, hmessage=""))
    driver.cancel(cancellation(wanted.name), within(10), tombstone=True)
    assert driver.mark_reported(last(driver, wanted.name), CANCELLED)
    driver.reconcile(Retention(0, 0))
    driver.logs(ended)


@pytest.fixture
def ended(driver: NomadDriver) -> str:
    """The name of an ended job with a log."""
    wanted = job("shell", Program(prints="hello"))
    driver.submit(wanted, within(10))
    outcome(driver, wanted.name)
    return wanted.name


def test_the_shipped_policy_is_enough(driver: NomadDriver, ended: str) -> None:
    assert {"list-jobs", "read-logs"} < set(CAPABILITIES)
    assert ON_VARIABLES == {JOBS: ["write", "read", "destroy"], PATH: ["write", "read"]}
    everything(driver, ended)


@pytest.mark.parametrize(("capability", "path"), ALL)
def test_every_capability_of_the_shipped_policy_is_needed(
    nomad: Nomad, driver: NomadDriver, ended: str, capability: str, path: str
) -> None:
    nomad.allow_all_but(capability, path)
    with pytest.raises(Rejected) as caught:
        everything(driver, ended)

    missing = f"variables {capability}" if path else capability
    assert f"our Nomad token lacks {missing}" in caught.value.detail
    assert (PATH in caught.value.detail) == (path == PATH)
    assert f"namespace {nomad.namespace}" in caught.value.detail
    assert "deploy/nomad" in caught.value.detail


# The check cannot try to read a log without a job. It is about jobs, not about the election among trackers.
@pytest.mark.parametrize(("capability", "path"), [each for each in ALL if each[0] != "read-logs" and each[1] != PATH])
def test_check_finds_a_missing_capability(nomad: Nomad, driver: NomadDriver, capability: str, path: str) -> None:
    driver.check()
    nomad.allow_all_but(capability, path)
    with pytest.raises(Rejected, match=capability):
        driver.check()


def test_check_changes_nothing(nomad: Nomad, driver: NomadDriver) -> None:
    driver.check()
    assert nomad.get("jobs") == []
    assert nomad.get("vars") == []


def test_the_error_names_a_missing_namespace(make_driver: Callable[..., NomadDriver]) -> None:
    with pytest.raises(Rejected, match="nowhere-at-all"):
        make_driver(namespace="nowhere-at-all").check()


def test_a_rotated_token_is_used_without_a_restart(nomad: Nomad, driver: NomadDriver) -> None:
    driver.submit(job("shell"), within(10))
    for _ in range(3):
        nomad.revoke()
        nomad.renew()
        assert driver.submit(job("shell"), within(10)) == "created"


def test_a_revoked_token_is_reported_and_a_new_one_is_used_without_a_restart(nomad: Nomad, driver: NomadDriver) -> None:
    driver.check()
    nomad.revoke()
    with pytest.raises(Unavailable, match="renew"):
        driver.submit(job("shell"), within(5))
    nomad.renew()
    assert driver.submit(job("shell"), within(10)) == "created"
    assert nomad.get("jobs") != []


def test_the_error_names_a_missing_token_file(make_driver: Callable[..., NomadDriver]) -> None:
    with pytest.raises(Unavailable, match="/nowhere/token"):
        make_driver(tokenFile="/nowhere/token").check()
