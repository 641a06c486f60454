"""A job as the memory driver stores it."""

from __future__ import annotations

import msgspec

from runner.jobs import JobSpec
from runner.observation import Observation


class MemoryJob(msgspec.Struct, frozen=True):
    """One stored job: its observation and its specification (None for a tombstone)."""

    observation: Observation
    job: JobSpec | None = None
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        seen = self.observation
        return f"MemoryJob({seen.name!r}, {seen.phase}{', cancelled' if seen.cancelled else ''})"

    def replace(self, **changes: object) -> MemoryJob:
        """The same job with changes to its observation."""
        return msgspec.structs.replace(self, observation=msgspec.structs.replace(self.observation, **changes))
