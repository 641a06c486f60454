"""Follows the Variables of one namespace: cancels, tombstones and marks. The event stream does not show them.

A blocking query waits for the next change to any job's Variable. Then a list shows which have changed. It has no items,
so each closed one is read once. An idle namespace costs one small request every WAIT_SECONDS.
"""

from __future__ import annotations

from runner.drivers.driver import View
from runner.drivers.nomad.listing import LIST_SECONDS, stubs_by_name
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.source import PendingJobs
from runner.runtime.clock import Deadline

WAIT_SECONDS = 5
"""Nomad adds a sixteenth. It must be shorter than the silence after which a request fails (Route)."""

SHARE = 10
"""A list is made after at least so many times its own duration: it shows every Variable, those of retained jobs too."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0


class VariableSource:
    """See Source. It shows what has changed since its first session; the listings of JobSource show the rest."""

    def __init__(self, namespace: Namespace, pending: PendingJobs) -> None:
        self.name = f"nomad/{namespace.name} variables"
        self.pause = 0.0
        self._namespace = namespace
        self._pending = pending
        self._index = 0

    def __repr__(self) -> str:
        return f"VariableSource({self.name}, index={self._index})"

    def follow(self, view: View) -> None:
        """See Source.follow."""
        clock = self._pending.clock
        began, deadline = clock.monotonic(), Deadline.after(LIST_SECONDS, clock)
        index = self._namespace.variables_index(self._index, WAIT_SECONDS, deadline)
        if index < self._index:  # the cluster was restored from a snapshot
            self._index = 0
        if self._index and index > self._index:
            listed = clock.monotonic()
            self._show_changes(view, deadline)
            self.pause = min(max(FIRST_PAUSE, SHARE * (clock.monotonic() - listed)), LONGEST_PAUSE)
        else:
            # A proxy may answer at once instead of waiting.
            self.pause = max(0.0, FIRST_PAUSE - (clock.monotonic() - began))
            view.alive()
        self._index = index

    def _show_changes(self, view: View, deadline: Deadline) -> None:
        stubs = stubs_by_name(self._namespace.variables(deadline)).values()
        changed = [stub for stub in stubs if stub.modify_index > self._index]
        for stub in sorted(changed, key=lambda stub: stub.modify_index):
            self._pending.variable_changed(view, stub)
