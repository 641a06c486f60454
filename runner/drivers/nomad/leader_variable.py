"""The record by which trackers of one Nomad cluster agree on a leader: a Variable, written by check-and-set.

Nomad's own locks on Variables are not used: after a holder's death they last for twice their time-to-live, at least 20
seconds.
"""

from __future__ import annotations

from runner.drivers.nomad.namespace import Namespace
from runner.runtime.clock import Deadline

PATH = "orchestrator/tracker"
"""Outside the paths of jobs: no job may read it, and no listing of jobs shows it."""

_HOLDER = "holder"


class VariableLeaderStore:
    """See LeaderStore. The version is the Variable's modify index."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.where = f"Variable {PATH} in namespace {namespace.name}"

    def __repr__(self) -> str:
        return f"VariableLeaderStore({self.where})"

    def read(self, deadline: Deadline) -> tuple[str, str] | None:
        """See LeaderStore.read."""
        record = self._namespace.record(PATH, deadline)
        return None if record is None else (record.items.get(_HOLDER, ""), str(record.modify_index))

    def write(self, holder: str, version: str, deadline: Deadline) -> str | None:
        """See LeaderStore.write."""
        index = self._namespace.write_record(PATH, {_HOLDER: holder}, int(version or 0), deadline)
        return None if index is None else str(index)
