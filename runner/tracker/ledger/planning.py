"""Plans what remains to be done for a record. Pure."""

from __future__ import annotations

import msgspec

from runner.observation import Observation
from runner.outcomes import is_unexplained
from runner.tracker.ledger.judge import REREAD_SECONDS, UNEXPLAINED_SECONDS
from runner.tracker.ledger.record import Record, Step, key_of
from runner.tracker.results import result_ids

_WITHOUT_LOG = frozenset({0, 5000, 5001})
"""Codes of outcomes that no log explains."""

POOR = frozenset({"unknown", "deleted", "disrupted"})
"""Outcomes that may only say that the evidence has not been seen yet, or that a list was stale."""


def remaining(record: Record, *, end: bool = False) -> list[Step]:
    """The steps that remain for a job whose outcome is decided. With `end`, it has passed a limit and must be ended."""
    assert record.outcome is not None
    seen, gone = record.seen, record.gone
    unsent = not record.accepted.issuperset(result_ids(seen, record.outcome))
    unsettled = unsent and seen.unsettled and not seen.cancelled  # its end must be stored first, or it yields
    with_log = record.outcome.code not in _WITHOUT_LOG and seen.phase == "failed" and not seen.log_tail
    wanted: list[tuple[Step, bool]] = [
        ("evidence", with_log and not gone and not end),
        ("end", (end or seen.lingers or unsettled) and seen.ended_as is None and not gone),
        ("publish", unsent),
        ("mark", not gone),
    ]
    return [step for step, holds in wanted if holds]


def explain_in(record: Record, now: float) -> float | None:
    """In how many seconds to read the cluster's events, to learn why the job waits. None if there is no need.

    What only an event said is read again: it may be history, and the job about to start.
    """
    known = record.cause and not record.by_event
    if known or record.seen.phase != "waiting" or record.seen.queued_since is None:
        return None
    if record.explained_at is None:
        return max(0.0, record.first_seen + UNEXPLAINED_SECONDS - now)
    return max(0.0, record.explained_at + REREAD_SECONDS - now)


def as_it_ended(record: Record) -> Observation:
    """What is known of the job: one that is gone, and whose end was not seen, has the phase `gone`.

    A failed job without its pod or its allocation shows no end: these were deleted, and mostly because the job was.
    """
    seen = record.seen
    nothing_known = is_unexplained(seen) and not seen.message
    bare = seen.phase == "failed" and not seen.instance and (seen.disrupted or nothing_known)
    vanished = record.gone and (bare or seen.phase in ("waiting", "running")) and seen.ended_as is None
    return msgspec.structs.replace(seen, phase="gone") if vanished else seen


def replaced(record: Record, seen: Observation) -> bool:
    """Whether the record's job is gone or was never completed, and another one was seen under its name.

    That is a job of the same request, or a tombstone, which has no fingerprint.
    """
    gone_or_incomplete = (record.seen.phase == "gone" or record.seen.incomplete) and not record.seen.cancelled
    return gone_or_incomplete and seen.fingerprint in ("", record.seen.fingerprint) and key_of(seen) != record.key
