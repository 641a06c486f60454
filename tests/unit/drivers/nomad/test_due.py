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
    agent.clock.advance(10_000)
    assert due(driver, agent) == [("end", wanted.name, "it has run longer than it may")]
    driver.reconcile()
    assert due(driver, agent) == []


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ({}, "no container of it started within {} s"),
        (
            {"coat": ("pending", False, [{"Type": "Driver", "DisplayMessage": "Downloading image"}])},
            "no container of it started within {} s: coat: Downloading image",
        ),
    ],
)
def test_a_job_that_a_node_took_and_does_not_start_is_ended(
    driver: NomadDriver, agent: FakeAgent, tasks: dict[str, Any], why: str
) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "pending", **tasks)
    why = why.format(wanted.deadlines.queue)
    agent.clock.advance(wanted.deadlines.queue - 2)
    assert due(driver, agent) == []
    agent.clock.advance(4)
    assert due(driver, agent) == [("end", wanted.name, f"it waits too long: {why}")]
    driver.reconcile()
    seen = find(driver, wanted)
    assert seen.unschedulable == why


def test_a_job_whose_stub_lags_behind_its_start_is_not_ended(driver: NomadDriver, agent: FakeAgent) -> None:
    wanted = submitted(driver)
    agent.allocate(wanted.name, "running")
    agent.clock.advance(wanted.deadlines.queue + 2)
    assert due(driver, agent) == []


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
