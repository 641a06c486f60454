"""Restores the state of a release for a test, one module for each driver.

A module here has the name of its driver, and a function `place(release, cluster, request)` that gives the place. A
place writes the state without the code under test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tests.releases import State, recorded


class Place(ABC):
    """A cluster of the conformance suite, empty at first, to which the state of a release is written."""

    def __init__(self, release: str, driver: str) -> None:
        self.recorded = recorded(release, driver)
        self.states: dict[str, State] = self.recorded["states"]
        requests = recorded(release, "requests")["states"]
        for name, state in self.states.items():
            state["request"] = requests[name]

    @property
    def whole(self) -> list[str]:
        """The states of jobs that are complete."""
        return [name for name in self.states if not name.startswith("half-")]

    @abstractmethod
    def put(self, *states: str) -> None:
        """Write these states to the cluster."""

    def free(self) -> None:  # noqa: B027  (only a host has slots)
        """Free all slots, so that waiting jobs can start."""

    def close(self) -> None:  # noqa: B027  (most places hold nothing)
        """Release what the place holds."""

    def alter(self, change: Callable[[str], str]) -> None:
        """Apply `change` to every recorded text, except names and keys."""
        self.recorded = _altered(self.recorded, change)
        self.states = self.recorded["states"]


def _altered(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _altered(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_altered(each, change) for each in value]
    return change(value) if isinstance(value, str) else value
