"""One round of a tracker over a driver, without the publishing: reconcile, then list."""

from __future__ import annotations

from runner.drivers.driver import Driver
from runner.observation import Observation


def observed(driver: Driver) -> list[Observation]:
    """What the driver lists once it has done what its jobs call for."""
    driver.reconcile()
    return list(driver.list())
