"""The writes to an existing Job, each one patch with the guard that it needs. Pure.

- The end and the mark are JSON patches (RFC 6902). They test the uid: a Job that was made anew under the name is never
  touched. They also test that an annotation is absent: the API server's library takes `test` with null for that (tried
  on Kubernetes 1.34). A failed test is a 422. The Job controller's own writes do not fail the mark. They fail the end,
  which tests the resourceVersion as well: a request that was long on its way must not end a job that runs by now.
- A claim moves by a JSON patch, too. It tests the uid and the claim that was read; of a Job that was released also the
  resourceVersion.
- The cancel and the resend are merge patches (RFC 7396) with the resourceVersion. What they write depends on the Job's
  conditions, so a change in between, also one by the Job controller, fails them (409).

A Job that something else manages (`spec.managedBy`) stores all of this, but only its manager can end it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from runner.drivers.claims import ADMITTED, ASSUMED, NEW, YIELDED
from runner.drivers.driver import SET_ASIDE_SECONDS
from runner.drivers.kubernetes.manifest import (
    ANSWER,
    CANCELLED,
    CLAIM,
    ENDED,
    PUBLISHED,
    REPORTED,
    RESENT,
    SET_ASIDE,
    Manifest,
    encode_report,
)
from runner.drivers.kubernetes.objects import JobObject
from runner.jobs import Cancellation
from runner.observation import Observation, Outcome
from runner.outcomes import missed_end

JSON_PATCH = "application/json-patch+json"  # RFC 6902

MAX_EVIDENCE = 4096
"""Bytes of an outcome's evidence that are stored with the job. All annotations of an object have 256 KiB."""

YIELDED_SECONDS = 60
"""How long a Job stays that has yielded. Until then, a request for its name cannot create another one there."""

_CUT = "[...]\n"

Operations = list[dict[str, Any]]


def end_patch(known: JobObject, outcome: Outcome) -> Operations:
    """End the Job and store the outcome, unless one is stored, or the Job has changed in any way since it was read."""
    return [
        _test("metadata/uid", known.metadata.uid),
        _test("metadata/resourceVersion", known.metadata.resource_version),
        _test(_annotation(CLAIM), known.claim or None),
        _absent(CANCELLED),
        _absent(ENDED),
        _add(_annotation(ENDED), encode_outcome(outcome)),
        *(_add(f"spec/{name}", value) for name, value in ({} if known.ended else _stop(known)).items()),
    ]


def reported_patch(seen: Observation, outcome: Outcome, retention: int) -> Operations:
    """Record the report. The time-to-live removes the Job after the retention, in seconds.

    Unless the job was seen cancelled, a cancel in between makes it fail; and so does a resend. An end that the cancel
    had missed is stored: the next sending of the confirmation must say the same.
    """
    return [
        *_if_unchanged(seen),
        *_keep_missed_end(seen, outcome),
        _add(_label(REPORTED), outcome.reason),
        _add(_annotation(REPORTED), outcome.reason),
        _add("spec/ttlSecondsAfterFinished", retention),
    ]


def _keep_missed_end(seen: Observation, reported: Outcome) -> Operations:
    missed = missed_end(seen, reported)
    return [_add(_annotation(ENDED), encode_outcome(missed))] if missed else []


def set_aside_patch(seen: Observation, outcome: Outcome, answer: str) -> Operations:
    """Record that atlas refuses the result. The annotation REPORTED is left out: nothing was accepted."""
    return [
        *_if_unchanged(seen),
        *_keep_missed_end(seen, outcome),
        _add(_label(REPORTED), outcome.reason),
        _add(_label(SET_ASIDE), outcome.reason),
        _add(_annotation(ANSWER), answer),
        _add("spec/ttlSecondsAfterFinished", SET_ASIDE_SECONDS),
    ]


def cancel_patch(cancellation: Cancellation, known: JobObject, ended: Outcome | None) -> Manifest:
    """End the Job and its pods gracefully, unless it has ended. `ended` is how the run had ended by itself.

    The confirmation is to be published, so the Job is listed again and has no time-to-live.
    """
    annotations: dict[str, str | None] = {CANCELLED: encode_report(cancellation.report)}
    if ended:
        annotations[ENDED] = encode_outcome(ended)
    if published := known.metadata.annotations.get(REPORTED):
        annotations |= {REPORTED: None, PUBLISHED: published}
    return {
        "metadata": {
            "resourceVersion": known.metadata.resource_version,
            "labels": {REPORTED: None, SET_ASIDE: None},
            "annotations": annotations,
        },
        "spec": {"ttlSecondsAfterFinished": None, **({} if known.ended else _stop(known))},
    }


def resend_patch(known: JobObject, outcome: Outcome | None) -> Manifest:
    """Take the mark away, and what atlas had accepted. `outcome`: what is sent again, if that is not stored yet."""
    annotations: dict[str, str | None] = {REPORTED: None, PUBLISHED: None, RESENT: str(known.resent + 1)}
    return {
        "metadata": {
            "resourceVersion": known.metadata.resource_version,
            "labels": dict.fromkeys((REPORTED, SET_ASIDE)),
            "annotations": annotations | ({ENDED: encode_outcome(outcome)} if outcome else {}),
        },
        "spec": {"ttlSecondsAfterFinished": None},
    }


def claim_patch(uid: str, before: str, after: str) -> Operations:
    """Move the Job's claim, unless it was cancelled or ended. By its label an assumed one is found again."""
    return [
        _test("metadata/uid", uid),
        _test(_annotation(CLAIM), before or None),
        _absent(CANCELLED),
        _absent(ENDED),
        _add(_annotation(CLAIM), after),
        *([_add(_label(CLAIM), after)] if after == ASSUMED else []),
    ]


def settle_patch(uid: str) -> Operations:
    """Admit an assumed claim, also one of a Job that was cancelled or ended."""
    return [
        _test("metadata/uid", uid),
        _test(_annotation(CLAIM), ASSUMED),
        _add(_annotation(CLAIM), ADMITTED),
        _add(_label(CLAIM), ADMITTED),
    ]


def yield_patch(uid: str, before: str, version: str) -> Operations:
    """End the Job: another place has its name. It makes no pod any more, is reported to nobody, and goes soon.

    The time-to-live may be short: the name stays taken in the other place. A Job that was released is tested for its
    resourceVersion as well: it may have ended since it was read.
    """
    stop = {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 0}
    return [
        *([] if before == NEW else [_test("metadata/resourceVersion", version)]),
        *claim_patch(uid, before, YIELDED),
        _add(_label(CLAIM), YIELDED),
        _add(_label(REPORTED), YIELDED),
        *(_add(f"spec/{name}", value) for name, value in stop.items()),
        _add("spec/ttlSecondsAfterFinished", YIELDED_SECONDS),
    ]


def encode_outcome(outcome: Outcome) -> str:
    """An outcome as the text of an annotation: of long evidence only the end, which has the last lines of the log."""
    raw = outcome.err.encode()
    if len(raw) > MAX_EVIDENCE:
        err = _CUT + raw[-MAX_EVIDENCE + len(_CUT) :].decode(errors="ignore")
        outcome = msgspec.structs.replace(outcome, err=err)
    return msgspec.json.encode(outcome).decode()


def _stop(known: JobObject) -> Manifest:
    """The fields of the spec that end the Job at its next sync.

    A suspended Job has no deadline, so it is resumed. Without pods to make, it ends before any container starts. A
    queue may also suspend a Job after it was read; so `suspend` is written in each case.
    """
    if known.spec.suspend:
        return {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 0}
    return {"suspend": False, "activeDeadlineSeconds": 1}


def _if_unchanged(seen: Observation) -> Operations:
    resent = _test(_annotation(RESENT), str(seen.resent) if seen.resent else None)
    return [_test("metadata/uid", seen.identity), resent, *([] if seen.cancelled else [_absent(CANCELLED)])]


def _test(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": f"/{path}", "value": value}


def _absent(annotation: str) -> dict[str, Any]:
    return _test(_annotation(annotation), None)


def _add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/{path}", "value": value}


def _annotation(name: str) -> str:
    return f"metadata/annotations/{_escaped(name)}"


def _label(name: str) -> str:
    return f"metadata/labels/{_escaped(name)}"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
