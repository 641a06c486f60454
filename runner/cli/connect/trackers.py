"""Whether a tracker leads: the record on the cluster, read until its leader renews it."""

from __future__ import annotations

from runner.cli.connect.checks import Finding
from runner.drivers.driver import LeaderStore
from runner.runtime.clock import Deadline
from runner.tracker.leadership.election import RENEW_SECONDS

PAUSE_SECONDS = 0.5


def leader(store: LeaderStore, deadline: Deadline) -> Finding:
    """The leader; a note where none leads, as before the first start."""
    first = store.read(deadline)
    if first is None:
        return _none(f"{store.where} does not exist: no tracker has led yet")
    until = Deadline.after(2 * RENEW_SECONDS, deadline.clock)
    while until.left > 0:
        deadline.clock.sleep(PAUSE_SECONDS)
        now = store.read(deadline)
        if now is not None and now.version != first.version and now.holder:
            return Finding(f"{now.holder} leads, by {store.where}")
    if not first.holder:
        return _none(f"no tracker leads: the last one released {store.where}")
    return _none(f"no tracker leads: {first.holder} no longer renews {store.where}")


def _none(text: str) -> Finding:
    return Finding(text, "note", "start `up`, `serve` or `track`")
