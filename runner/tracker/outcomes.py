"""Decides how a job ended, from its Observation alone.

`classify` turns an `Observation`, the type that all drivers share, into an `Outcome`, or None while the job may go on.
The first row of the table that holds decides. A cancellation comes first, then the best explanation of a failure.
Reasons and codes are fixed: atlas shows them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from runner.observation import Observation, Outcome
from runner.security.masking import mask


class Rule(msgspec.Struct, frozen=True):
    """One row of the table."""

    reason: str
    code: int
    holds: Callable[[Observation], bool]
    hmessage: str


def _failed(seen: Observation) -> bool:
    return seen.phase == "failed"


RULES: tuple[Rule, ...] = (
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
        lambda seen: bool(seen.configuration_error),
        "The node refused to start the job; check its secrets, volumes and security settings.",
    ),
    Rule("out_of_memory", 5104, lambda seen: _failed(seen) and seen.out_of_memory, "The analyzer ran out of memory."),
    Rule(
        "disrupted",
        5106,
        lambda seen: _failed(seen) and seen.disrupted,
        "The machine that ran the job went away; run it again.",
    ),
    Rule(
        "unschedulable",
        5102,
        lambda seen: _failed(seen) and bool(seen.unschedulable),
        "No machine had room for the job in the time allowed; add capacity or lower its limits.",
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
    Rule("unknown", 5199, _failed, "The job failed for a reason that the cluster did not give."),
)


def classify(seen: Observation) -> Outcome | None:
    """How the job ended, or None if it has not ended.

    A waiting job whose image or configuration was refused has not ended until its driver sets `phase`: a cluster may
    still recover from both within its grace time.
    """
    if seen.phase in ("waiting", "running"):
        return None
    rule = next(rule for rule in RULES if rule.holds(seen))
    return Outcome(reason=rule.reason, code=rule.code, hmessage=rule.hmessage, err=_evidence(seen))


def _evidence(seen: Observation) -> str:
    facts = (
        (seen.init_exit not in (None, 0), f"init container: exit code {seen.init_exit}"),
        (seen.main_exit not in (None, 0), f"main container: exit code {seen.main_exit}"),
        (bool(seen.image_error), seen.image_error),
        (bool(seen.configuration_error), seen.configuration_error),
        (bool(seen.unschedulable), seen.unschedulable),
        (bool(seen.message), seen.message),
        (bool(seen.log_tail), f"last lines of the log:\n{seen.log_tail}"),
    )
    return mask("\n".join(text for holds, text in facts if holds))
