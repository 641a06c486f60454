"""Polls the observation of one job until it is as expected."""

from __future__ import annotations

import time
from collections.abc import Callable

from runner.drivers.driver import Driver
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.harness.rounds import observed


def find(driver: Driver, name: str) -> Observation | None:
    return next((each for each in observed(driver) if each.name == name), None)


def last(driver: Driver, name: str) -> Observation:
    """The observation of a job that exists."""
    seen = find(driver, name)
    assert seen is not None, f"there is no {name}"
    return seen


def until(driver: Driver, name: str, reached: Callable[[Observation], object], seconds: float = 60) -> Observation:
    end = time.monotonic() + seconds
    while True:
        seen = find(driver, name)
        if seen is not None and reached(seen):
            return seen
        assert time.monotonic() < end, f"not within {seconds} s: {seen}"
        time.sleep(0.1)


def printed(driver: Driver, name: str, container: str = "") -> str:
    """The log, once it is complete: the last lines of a container may arrive a moment after its end."""
    end, text, before = time.monotonic() + 8, "", None
    while (not text or text != before) and time.monotonic() < end:
        before, text = text, driver.logs(name, container)
        time.sleep(0.3)
    return text


def outcome(driver: Driver, name: str, seconds: float = 60) -> Outcome:
    """Wait for the end of the job and return its outcome."""
    found = classify(until(driver, name, classify, seconds))
    assert found is not None
    return found
