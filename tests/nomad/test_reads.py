"""Listing changes nothing on Nomad, not even if a deadline has passed or a cancellation was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from runner.config.types import Config
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.variable import variable_path
from runner.errors import Rejected
from runner.jobs import Deadlines
from tests.conformance.jobs import POOL, Program, cancellation, job, new_name
from tests.harness.deadlines import within
from tests.nomad.access import Nomad
from tests.nomad.seen import outcome, until
from tests.nomad.test_locks import killed_before


def indexes(nomad: Nomad) -> dict[str, int]:
    """Every job and Variable of the namespace, with the index of its last change."""
    jobs = {each["ID"]: each["JobModifyIndex"] for each in nomad.get("jobs")}
    return jobs | {each["Path"]: each["ModifyIndex"] for each in nomad.get("vars")}


def test_an_overdue_job_is_listed_as_running_until_reconcile_stops_it(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = job("shell", Program(endless=True), deadlines=Deadlines(queue=1, clone=1, run=1))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    time.sleep(4)  # past the deadline, which no tracker enforces meanwhile
    before = indexes(nomad)

    for _ in range(3):
        (seen,) = [each for each in driver.list() if each.name == wanted.name]

    assert indexes(nomad) == before
    assert (seen.phase, seen.ended) == ("running", None)
    driver.reconcile()
    assert indexes(nomad) != before
    assert outcome(driver, wanted.name).reason == "timed_out"


def test_a_job_that_waits_too_long_is_listed_as_waiting_until_reconcile_ends_it(
    nomad: Nomad, make_driver: Callable[..., NomadDriver]
) -> None:
    driver = make_driver(pools={POOL: {"datacenters": ["nowhere"]}})
    wanted = job("shell", deadlines=Deadlines(queue=1, clone=60, run=60))
    driver.submit(wanted, within(10))
    time.sleep(3)
    before = indexes(nomad)

    (seen,) = driver.list()

    assert indexes(nomad) == before
    assert (seen.phase, seen.ended) == ("waiting", None)
    driver.reconcile()
    assert outcome(driver, wanted.name).reason == "unschedulable"


def test_a_job_whose_cancellation_stopped_half_way_is_listed_as_running_until_reconcile_stops_it(
    nomad: Nomad, driver: NomadDriver, make_config: Callable[..., Config]
) -> None:
    wanted = job("shell", Program(endless=True))
    driver.submit(wanted, within(10))
    until(driver, wanted.name, lambda seen: seen.phase == "running")
    with killed_before(nomad.config(make_config), "DELETE", "job") as dying:
        dying.cancel(cancellation(wanted.name), within(5), tombstone=True)
    before = indexes(nomad)

    (seen,) = driver.list()

    assert indexes(nomad) == before
    assert (seen.phase, seen.ended, seen.cancelled) == ("running", None, True)
    assert not nomad.get(f"job/{wanted.name}")["Stop"]
    driver.reconcile()
    assert nomad.get(f"job/{wanted.name}")["Stop"]
    assert outcome(driver, wanted.name).reason == "cancelled"


def test_a_job_that_cannot_be_ended_does_not_keep_the_others_from_their_end(nomad: Nomad, driver: NomadDriver) -> None:
    """Its Variable now belongs to another program, so reconcile raises an error and leaves it alone."""
    names = sorted(new_name() for _ in range(3))
    for name in names:
        wanted = job("shell", Program(endless=True), name=name, deadlines=Deadlines(queue=1, clone=1, run=1))
        driver.submit(wanted, within(10))
    for name in names:
        until(driver, name, lambda seen: seen.phase == "running")
    nomad.put(f"var/{variable_path(names[0])}", {"Items": {"password": "theirs"}})
    time.sleep(4)  # past the deadline of all

    with pytest.raises(Rejected, match=names[0]):
        driver.reconcile()

    assert [nomad.get(f"job/{name}")["Stop"] for name in names] == [False, True, True]


def test_ended_jobs_are_left_out_of_a_listing_of_those_that_live(nomad: Nomad, driver: NomadDriver) -> None:
    """Every round lists the live jobs, and ended jobs are most of all jobs."""
    ended, endless = job("shell"), job("shell", Program(endless=True))
    for each in (ended, endless):
        driver.submit(each, within(10))
    outcome(driver, ended.name)
    until(driver, endless.name, lambda seen: seen.phase == "running")
    where = driver._namespaces[0]

    assert {each.id for each in where.jobs(within(10)).items} == {ended.name, endless.name}
    assert [each.id for each in where.jobs(within(10), ended=False).items] == [endless.name]
