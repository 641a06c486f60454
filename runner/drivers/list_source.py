"""A source for drivers whose list is cheap: it lists again and again, and has no edges to pass on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runner.drivers.driver import Driver, View
from runner.observation import Observation


class ListSource:
    """Lists the jobs of a driver that has one place, the empty one. A session is one list."""

    def __init__(
        self, driver: Driver, pause: float, *, listed: Callable[[], Iterable[Observation]] | None = None
    ) -> None:
        """`listed` gives the jobs that are not reported, where the driver can do that for less than `list`."""
        self.name = f"{driver.name} list"
        self.pause = pause
        self._listed = listed or driver.list

    def __repr__(self) -> str:
        return f"ListSource({self.name!r}, every {self.pause:g} s)"

    def follow(self, view: View) -> None:
        """See Source.follow."""
        view.replace("", [seen for seen in self._listed() if not seen.reported])
