"""The shipped policy has exactly the capabilities that the driver uses. If one is missing, an error names it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from runner.drivers.driver import Retention
from runner.drivers.nomad.driver import NomadDriver
from runner.errors import Rejected, Unavailable
from runner.observation import Outcome
from tests.conformance.jobs import Program, cancellation, job
from tests.harness.deadlines import within
from tests.harness.rounds import observed
from tests.nomad.access import POLICY, Nomad
from tests.nomad.seen import outcome

CAPABILITIES = re.findall(r'^ *"([a-z-]+)",', POLICY.read_text(), re.MULTILINE)
ON_VARIABLES = re.findall(r'"([a-z]+)"', POLICY.read_text().rpartition("capabilities")[2])


def everything(driver: NomadDriver, ended: str) -> None:
    """Every operation of the driver."""
    wanted = job("shell")
    driver.check()
    driver.submit(wanted, within(10))
    observed(driver)
    driver.cancel(cancellation(wanted.name), within(10), tombstone=True)
    driver.mark_reported(wanted.name, Outcome(reason="cancelled", code=5000, hmessage=""))
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
    assert set(ON_VARIABLES) == {"write", "read", "destroy"}
    everything(driver, ended)


@pytest.mark.parametrize("capability", [*CAPABILITIES, *ON_VARIABLES])
def test_every_capability_of_the_shipped_policy_is_needed(
    nomad: Nomad, driver: NomadDriver, ended: str, capability: str
) -> None:
    nomad.allow_all_but(capability)
    with pytest.raises(Rejected) as caught:
        everything(driver, ended)

    missing = f"variables {capability}" if capability in ON_VARIABLES else capability
    assert f"our Nomad token lacks {missing}" in caught.value.detail
    assert f"namespace {nomad.namespace}" in caught.value.detail
    assert "deploy/nomad" in caught.value.detail


# The check cannot try to read a log without a job.
@pytest.mark.parametrize("capability", [each for each in (*CAPABILITIES, *ON_VARIABLES) if each != "read-logs"])
def test_check_finds_a_missing_capability(nomad: Nomad, driver: NomadDriver, capability: str) -> None:
    driver.check()
    nomad.allow_all_but(capability)
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
