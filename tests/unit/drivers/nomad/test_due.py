"""What reconcile would do in a namespace, and that it is what reconcile then does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runner.drivers.driver import Retention
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import PREFIX
from tests.unit.drivers.nomad.agent import FakeAgent
from tests.unit.drivers.nomad.test_guards import FAILED, cancel, ended, find, submitted

STARTED = [{"Type": "Started"}]
CLONED = ("dead", False, [*STARTED, {"Type": "Terminated", "Details": {"exit_code": "0"}}])
PULLED = ("pending", False, [{"Type": "Driver", "DisplayMessage": "Downloading image"}])

KEPT, NOT_KEPT = Retention(1e9, 1e9), Retention(0, 1e9)


def due(driver: NomadDriver, agent: FakeAgent, expired: Retention = KEPT) -> list[tuple[str, str, str]]:
    """What is due, by a driver that changes nothing."""
    before = len(agent.writes())
    found = [(each.action, each.name, each.why) for each in driver.due(expired)]
    assert len(agent.writes()) == before
    return found


@pytest.mark.parametrize("namespaces", [("default",), ("default", "night")])
def test_nothing_is_due_of_jobs_that_are_as_they_should_be(
    make_driver: Callable[..., NomadDriver], agent: FakeAgent, namespaces: tuple[str, ...]
) -> None:
    """With two namespaces, a job's Variable is written twice."""
    driver = make_driver(*namespaces)
    submitted(driver)
    ended(driver, agent)
    cancel(driver, "analysis-tombstone")
    assert due(driver, agent) == []


def test_an_overdue_job_is_ended(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "running", coat=("running", False, STARTED))
    agent.clock.advance(10_000)
    assert due(driver, agent) == [("end", wanted.name, "it has run longer than it may")]
    driver.reconcile()
    assert due(driver, agent) == []


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ({}, "no container of it started within {} s"),
        ({"coat": PULLED}, "no container of it started within {} s: coat: Downloading image"),
        (
            {"proxy": ("running", False, STARTED), "coat": PULLED},
            "no container of it started within {} s: the task proxy, which is not the job's, runs",
        ),
    ],
)
def test_a_job_that_a_node_took_and_does_not_start_is_ended(
    driver: NomadDriver, agent: FakeAgent, tasks: dict[str, Any], why: str
) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "running" if "proxy" in tasks else "pending", **tasks)
    why = why.format(wanted.deadlines.queue)
    agent.clock.advance(wanted.deadlines.queue - 2)
    assert due(driver, agent) == []
    agent.clock.advance(4)
    assert due(driver, agent) == [("end", wanted.name, f"it waits too long: {why}")]
    driver.reconcile()
    seen = find(driver, wanted)
    assert seen.unschedulable == why


@pytest.mark.parametrize(
    ("status", "tasks"),
    [
        ("running", {"coat": ("running", False, STARTED)}),
        ("pending", {"coat": CLONED, "marvin": PULLED}),
        ("pending", {"coat": ("pending", False, [*STARTED, {"Type": "Failed Restoring Task"}])}),
        ("unknown", {}),
        ("complete", {"coat": PULLED}),
    ],
    ids=["it runs", "its main task's image is pulled", "its node restarted", "its node is unknown", "it was drained"],
)
def test_a_job_that_has_begun_is_not_ended_for_its_wait(
    driver: NomadDriver, agent: FakeAgent, status: str, tasks: dict[str, Any]
) -> None:
    """Nomad calls an allocation pending again between two of its tasks. Whether it had begun is read once."""
    wanted = submitted(driver)
    agent.allocate(wanted.name, status, **tasks)
    agent.clock.advance(wanted.deadlines.queue + 2)
    before = _allocation_reads(agent)
    for _ in range(3):
        assert due(driver, agent) == []
    assert _allocation_reads(agent) - before == 1
    agent.clock.advance(wanted.deadlines.total)
    assert due(driver, agent) == [("end", wanted.name, "it has run longer than it may")]


def test_a_job_that_a_listing_has_shown_to_run_is_not_read_for_its_wait(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "running", coat=("running", False, STARTED))
    assert [seen.phase for seen in driver.list()] == ["running"]
    agent.clock.advance(wanted.deadlines.queue + 2)
    assert due(driver, agent) == []
    assert _allocation_reads(agent) == 0


def _allocation_reads(agent: FakeAgent) -> int:
    return sum(each.startswith("GET job/") and each.endswith("/allocations") for each in agent.asked)


def test_a_closed_variable_whose_job_was_not_stopped(driver: NomadDriver, agent: FakeAgent) -> None:
    """The process that cancelled it died between the two steps."""
    wanted = submitted(driver)
    cancel(driver, wanted.name)
    agent.jobs[("default", wanted.name)]["Stop"] = False
    agent.jobs[("default", wanted.name)]["Status"] = "running"
    assert due(driver, agent) == [("stop", wanted.name, "its Variable is closed, and it has not been stopped")]
    driver.reconcile()
    assert due(driver, agent) == []


def test_a_variable_is_removed_after_the_retention(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = ended(driver, agent)
    assert driver.mark_reported(find(driver, wanted), FAILED)
    agent.jobs.clear()
    agent.clock.advance(60)
    assert due(driver, agent) == []
    assert due(driver, agent, NOT_KEPT) == [("remove", wanted.name, "its Variable has been kept for long enough")]
    assert driver.reconcile(NOT_KEPT) == 1
    assert ("default", PREFIX + wanted.name) not in agent.variables
    assert due(driver, agent, NOT_KEPT) == []
