"""Decides how a job ended, from its Observation alone.

`classify` turns an `Observation`, the type that all drivers share, into an `Outcome`, or None while the job may go on.
The first row of the table that holds decides. A cancellation comes first, then what was stored with the job, then the
best explanation of a failure. Reasons and codes are fixed: atlas shows them. docs/outcomes.md explains each to an
operator.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import msgspec

from runner.observation import Observation, Outcome, waits_otherwise
from runner.security.masking import mask


class Rule(msgspec.Struct, frozen=True):
    """One row of the table. `hmessage` may name the container that explains the end: `{container}`."""

    reason: str
    code: int
    holds: Callable[[Observation], bool]
    hmessage: str


def _failed(seen: Observation) -> bool:
    return seen.phase == "failed"


def _lacks_memory_to_start(seen: Observation) -> bool:
    """Whether its limit is too small to start a program. Where a runtime creates it again and again, the job waits."""
    return seen.phase == "waiting" and seen.out_of_memory


def _ended_before_its_cancel(seen: Observation) -> bool:
    if seen.ended_as is not None:
        return seen.cancelled and seen.ended_as.reason != "cancelled"
    return seen.cancelled and seen.phase == "succeeded"


RULES: tuple[Rule, ...] = (
    Rule("cancelled", 5001, _ended_before_its_cancel, "The run had already ended: {ended_as}."),
    Rule("cancelled", 5000, lambda seen: seen.cancelled, "The run was cancelled."),
    Rule("succeeded", 0, lambda seen: seen.phase == "succeeded", "The run finished."),
    Rule("deleted", 5109, lambda seen: seen.phase == "gone", "Somebody deleted the job from the cluster."),
    Rule(
        "image_unavailable",
        5101,
        lambda seen: bool(seen.image_error),
        "An image of the job could not be fetched; check its name, version and the registry's credentials.",
    ),
    Rule(
        "misconfigured",
        5108,
        lambda seen: (bool(seen.configuration_error) and not _lacks_memory_to_start(seen)) or seen.incomplete,
        "The node refused to start the job; check its program, secrets, volumes and security settings.",
    ),
    Rule(
        "not_admitted",
        5111,
        lambda seen: bool(seen.not_admitted),
        "The cluster refused to create the job's pod; check quotas, limit ranges, policies and its priority class.",
    ),
    Rule(
        "disk_exhausted",
        5110,
        lambda seen: _failed(seen) and bool(seen.disk_exhausted),
        "The run wrote more to the disk than it may; raise its limit, or check what it writes.",
    ),
    Rule(
        "out_of_memory",
        5104,
        lambda seen: (_failed(seen) and seen.out_of_memory) or _lacks_memory_to_start(seen),
        "The container {container} ran out of memory; raise its limit.",
    ),
    Rule(
        "disrupted",
        5106,
        lambda seen: _failed(seen) and seen.disrupted,
        "The machine that ran the job went away, or somebody deleted its pod; run it again.",
    ),
    Rule(
        "unschedulable",
        5102,
        lambda seen: bool(seen.unschedulable),
        "No machine started the job in the time allowed; add capacity, lower its limits, or check its machine.",
    ),
    Rule("timed_out", 5105, lambda seen: _failed(seen) and seen.timed_out, "The run took longer than allowed."),
    Rule(
        "clone_failed",
        5103,
        lambda seen: _failed(seen) and seen.init_exit not in (None, 0),
        "The repository could not be cloned; check its URL, keys and commit.",
    ),
    Rule(
        "analyzer_failed",
        5107,
        lambda seen: _failed(seen) and seen.main_exit not in (None, 0),
        "The analyzer ended with an error.",
    ),
    Rule("unknown", 5199, lambda _: True, "The job failed for a reason that the cluster did not give."),
)

_EVIDENCE_GONE = "the result was sent again after the cluster had removed the evidence"


def classify(seen: Observation) -> Outcome | None:
    """How the job ended, or None if it has not ended.

    A waiting job whose image or configuration was refused has not ended: a cluster may still recover from both, within
    the limits of the configuration. A job that was ended for an outcome has that outcome from then on, whatever its
    containers do until they are gone.
    """
    outcome = in_short(seen)
    return outcome if outcome is None or outcome is seen.ended_as else _with_evidence(outcome, seen)


def in_short(seen: Observation) -> Outcome | None:
    """As `classify`, without the evidence: `err` is empty unless it was stored with the job. For lists and counts."""
    if seen.ended_as is not None and not seen.cancelled:
        return seen.ended_as
    if seen.phase in ("waiting", "running") and seen.ended_as is None:
        return None
    return _supported(seen)


def explanation(seen: Observation) -> Outcome:
    """The outcome that the evidence supports, whatever the job's phase."""
    return _with_evidence(_supported(seen), seen)


def _supported(seen: Observation) -> Outcome:
    rule = _rule(seen)
    before = seen.ended_as.reason if seen.ended_as else "succeeded"
    hmessage = rule.hmessage.format(container=seen.container or "of the analyzer", ended_as=before)
    return Outcome(reason=rule.reason, code=rule.code, hmessage=hmessage, err="")


def _with_evidence(outcome: Outcome, seen: Observation) -> Outcome:
    return msgspec.structs.replace(outcome, err=_evidence(seen))


def contradicts(now: Observation, seen: Observation, outcome: Outcome) -> bool:
    """Whether the job as it was just read refutes the outcome that was decided from an earlier observation.

    It has ended otherwise; or it goes on; or there was no job, and now there is one, or its submit has gone on.
    """
    if waits_otherwise(seen, now) or (seen.phase == "gone" and now.phase in ("waiting", "running")):
        return True
    by_itself = classify(now) if now.ended_as is None and not now.cancelled else None
    return by_itself is not None and by_itself.reason != outcome.reason


def missed_end(seen: Observation, reported: Outcome) -> Outcome | None:
    """How the run had ended although it was cancelled, if that is what was `reported`. None if it was not.

    It is stored with the mark, so that the confirmation says the same when it is sent again: the cluster may have lost
    the evidence by then.
    """
    if reported.code != RULES[0].code or not _ended_before_its_cancel(seen):
        return None
    return seen.ended_as or explanation(msgspec.structs.replace(seen, cancelled=False))


def kept(now: Observation, reported: str) -> Outcome | None:
    """What is to be stored with a job whose result is sent again, so that the second sending says the same.

    `reported` is the reason of the first. The cluster may have lost the evidence for it since; then only the reason is
    left. None if nothing has to be stored: the job has a stored outcome that was reported, or is only just ending.
    """
    if now.ended_as is not None:
        if reported != "succeeded" or now.cancelled:
            return None
        return _supported(msgspec.structs.replace(now, ended_as=None, phase="succeeded"))  # it was quicker than its end
    if now.cancelled and (reported != "cancelled" or not _ended_before_its_cancel(now)):
        return None
    if now.cancelled:  # it was reported before its end was seen, or that end would be stored
        return _supported(msgspec.structs.replace(now, phase="failed"))
    again = classify(now)
    rule = next((rule for rule in RULES if rule.reason == reported), None)
    if again is None or rule is None or again.reason == reported:
        return again
    hmessage = rule.hmessage.format(container=now.container or "of the analyzer", ended_as="")
    return Outcome(reason=rule.reason, code=rule.code, hmessage=hmessage, err=_EVIDENCE_GONE)


def is_unexplained(seen: Observation) -> bool:
    """Whether `explanation` finds no reason."""
    return _rule(seen) is RULES[-1]


def _rule(seen: Observation) -> Rule:
    return next(rule for rule in RULES if rule.holds(seen))


def _evidence(seen: Observation) -> str:
    facts = (
        (seen.init_exit not in (None, 0), f"init container: {_exit(seen.init_exit)}"),
        (seen.main_exit not in (None, 0), f"main container: {_exit(seen.main_exit)}"),
        (bool(seen.image_error), seen.image_error),
        (bool(seen.configuration_error), seen.configuration_error),
        (seen.incomplete, "its secrets were never created; repeat the request"),
        (bool(seen.not_admitted), seen.not_admitted),
        (bool(seen.disk_exhausted), seen.disk_exhausted),
        (bool(seen.unschedulable), seen.unschedulable),
        (bool(seen.delay), seen.delay),
        (bool(seen.held), f"held by {seen.held}"),
        (bool(seen.message), seen.message),
        (bool(seen.log_tail), f"last lines of the log:\n{seen.log_tail}"),
    )
    return mask("\n".join(text for holds, text in facts if holds))


def _exit(code: int | None) -> str:
    """An exit code in words: 128 + n is the signal n, as for shells. Windows has negative codes, which are none."""
    try:
        return f"exit code {code}, killed by {signal.Signals((code or 0) - 128).name}"
    except ValueError:
        return f"exit code {code}"
