"""How long the local driver keeps an ended job. Pure."""

from __future__ import annotations

from runner.drivers.driver import SET_ASIDE_SECONDS, Retention
from runner.drivers.local.record import ReportedFile, StoredJob


def is_due(stored: StoredJob, now: float, expired: Retention) -> bool:
    """Whether an ended job is to be removed: some time after its report, or long after an end without one."""
    if stored.end is None:
        return False
    if stored.marked:
        return not is_kept(stored.marked, now, expired)
    return now >= max(stored.end.ended, stored.resent.at) + expired.orphaned


def is_kept(marked: ReportedFile, now: float, expired: Retention) -> bool:
    """Whether a reported job is too young to be removed."""
    return now < marked.at + (SET_ASIDE_SECONDS if marked.set_aside else expired.reported)
