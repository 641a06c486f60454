"""The record by which trackers of one Nomad cluster agree on a leader: a Variable, written by check-and-set.

Nomad's own locks on Variables are not used: after a holder's death they last for twice their time-to-live, at least 20
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from runner.drivers.driver import LeaderRecord
from runner.drivers.nomad.namespace import Namespace
from runner.runtime.clock import Deadline

PATH = "orchestrator/tracker"
"""Outside the paths of jobs: no job may read it, and no listing of jobs shows it."""

_HOLDER, _ACCEPTED = "holder", "accepted"
"""The items of the Variable. The second one has ids with spaces between them."""


class VariableLeaderStore:
    """See LeaderStore. The version is the Variable's modify index."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.where = f"Variable {PATH} in namespace {namespace.name}"

    def __repr__(self) -> str:
        return f"VariableLeaderStore({self.where})"

    def read(self, deadline: Deadline) -> LeaderRecord | None:
        """See LeaderStore.read."""
        record = self._namespace.record(PATH, deadline)
        if record is None:
            return None
        accepted = tuple(record.items.get(_ACCEPTED, "").split())
        return LeaderRecord(record.items.get(_HOLDER, ""), str(record.modify_index), accepted)

    def write(self, holder: str, version: str, deadline: Deadline, accepted: Sequence[str] = ()) -> str | None:
        """See LeaderStore.write."""
        items = {_HOLDER: holder} | ({_ACCEPTED: " ".join(accepted)} if accepted else {})
        index = self._namespace.write_record(PATH, items, int(version or 0), deadline)
        return None if index is None else str(index)
