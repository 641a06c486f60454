"""The memory driver's only place, for requests that take a name in other engines. See runner.drivers.claims."""

from __future__ import annotations

from collections.abc import Callable

from runner.drivers.claims import Claim, Standing
from runner.runtime.clock import Deadline


class MemoryPlace:
    """See Place. `standing` gives the name in the dictionary of jobs."""

    name = ""

    def __init__(self, driver: str, standing: Callable[[str], Standing | None]) -> None:
        self.driver = driver
        self._standing = standing

    def __repr__(self) -> str:
        return self.driver

    def standing(self, name: str, _deadline: Deadline) -> Standing | None:
        """See Place.standing."""
        return self._standing(name)

    def move(self, standing: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Place.move. A claim here is less than all others, so none is asked to yield."""
        return False
