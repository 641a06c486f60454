"""Listing changes nothing on Nomad, not even if a deadline has passed or a cancellation was interrupted."""

from __future__ import annotations

import time

from runner.drivers.nomad.driver import NomadDriver
from runner.jobs import Deadlines
from tests.conformance.jobs import Program, job
from tests.harness.deadlines import within
from tests.nomad.access import Nomad
from tests.nomad.seen import outcome, until


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
