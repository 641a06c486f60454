"""A tracker's round over one driver, without publishing: reconcile, then list."""

from __future__ import annotations

from runner.drivers.driver import Driver
from runner.observation import Observation


def observed(driver: Driver) -> list[Observation]:
    """What the driver lists after a reconcile."""
    driver.reconcile()
    return list(driver.list())
