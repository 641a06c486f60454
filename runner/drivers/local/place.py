"""A name on this host, for requests that take it in other engines. See runner.drivers.claims.

A job is created by one rename and has no claim. While it is being made, the lock of its making shows a claim that is
less than all others; it ends with the process that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from runner.drivers.claims import NEW, Claim, Standing, standing_of
from runner.drivers.local import files, locks
from runner.errors import Unavailable
from runner.observation import Observation
from runner.runtime import concurrency
from runner.runtime.clock import Deadline


class LocalPlace:
    """The directory of the jobs. See Place. `find` reads a job by its name."""

    driver = "local"
    name = ""

    def __init__(self, directory: str, find: Callable[[str], Observation | None]) -> None:
        self._directory = directory
        self._find = find

    def __repr__(self) -> str:
        return self.driver

    def standing(self, name: str, deadline: Deadline) -> Standing | None:
        """See Place.standing."""
        return concurrency.run_in_thread(self._standing, name)

    def move(self, standing: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Place.move. A claim here is less than all others, so none is asked to yield."""
        return False

    def _standing(self, name: str) -> Standing | None:
        try:
            making = locks.is_locked(os.path.join(self._directory, files.MAKING, name))
        except OSError as error:
            raise Unavailable(f"{self._directory} cannot be read: {error.strerror}; check the directory") from error
        # After the lock: a job that was made in between is found.
        if (seen := self._find(name)) is not None:
            return standing_of(seen)
        return Standing(name=name, driver=self.driver, place="", identity="", claim=NEW) if making else None
