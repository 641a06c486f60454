"""Where the state of a release is put back for a test, one module for each driver.

A module here is named after its driver and has `place(release, cluster, request)`, which gives the place. Its state is
written past the code under test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tests.releases import State, recorded


class Place(ABC):
    """Where the state of a release is put back: a cluster of the conformance suite, empty at first."""

    def __init__(self, release: str, driver: str) -> None:
        self.recorded = recorded(release, driver)
        self.states: dict[str, State] = self.recorded["states"]
        requests = recorded(release, "requests")["states"]
        for name, state in self.states.items():
            state["request"] = requests[name]

    @property
    def whole(self) -> list[str]:
        """The states that are not half-made."""
        return [name for name in self.states if not name.startswith("half-")]

    @abstractmethod
    def put(self, *states: str) -> None:
        """Put these states back."""

    def free(self) -> None:  # noqa: B027  (only a host can be busy)
        """Let jobs start that wait for a slot."""

    def close(self) -> None:  # noqa: B027  (most places need no help)
        """Give back what is held."""

    def alter(self, change: Callable[[str], str]) -> None:
        """Change every text that was recorded, names and keys excepted."""
        self.recorded = _altered(self.recorded, change)
        self.states = self.recorded["states"]


def _altered(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _altered(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_altered(each, change) for each in value]
    return change(value) if isinstance(value, str) else value
