"""What is published to atlas when a job cannot publish it itself: pure, from an observation and its outcome.

A job publishes its own result when it succeeds. We publish a failure, in the shape that the table of request types
gives it; the end of a job whose exit code is the result, which no image publishes; and the confirmation of a cancel.

Each result has an id that is made of the job's identity and the kind of result, never of the reason: one result keeps
one id, whichever tracker judges the job and however often, and atlas keeps the first of an id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.request_types import REQUEST_TYPES, RequestType
from runner.runtime.traces import traceparent
from runner.security.masking import printable, shown

_NAMESPACE = uuid.UUID("5f1c7f0e-9f5b-4b57-9a53-0d9a4f4c1f2e")

ENDED_BEFORE = 5001
"""The code of a cancel that came after the job had ended by itself."""

HMESSAGE_LIMIT, ERR_LIMIT = 1000, 16 << 10
"""Characters of the sentence, and bytes of the evidence in UTF-8."""

_ERR_HEAD = 4 << 10

Kind = Literal["end", "cancellation"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A body to publish, where, and what its token must allow."""

    id: str
    kind: Kind
    path: str
    scope: str
    run_id: str
    body: dict[str, Any]
    traceparent: str = ""
    """Of the request that made or cancelled the job; empty if it had none."""


class _Part(NamedTuple):
    """One result before it is made."""

    kind: Kind
    report: Report
    outcome: Outcome


def results(seen: Observation, outcome: Outcome) -> tuple[Result, ...]:
    """What atlas is still to receive about an ended job, in this order: the end, the confirmation of a cancel.

    A job that was cancelled before its end has no other end; `outcome` is then the cancellation. If it had ended
    before, `outcome` has the code ENDED_BEFORE and says how, and the end itself is `seen.ended_as`.
    """
    return tuple(_result(seen, part) for part in _parts(seen, outcome))


def result_ids(seen: Observation, outcome: Outcome) -> tuple[str, ...]:
    """The ids of `results`, at a fraction of the cost: nothing is masked."""
    return tuple(_id(part.kind, seen, part.report) for part in _parts(seen, outcome))


def _parts(seen: Observation, outcome: Outcome) -> Iterator[_Part]:
    """Of which results it consists."""
    before = outcome.code == ENDED_BEFORE and seen.ended_as is not None
    end = seen.ended_as if seen.cancelled and before else None if seen.cancelled else outcome
    if end is not None and not seen.published and seen.report and _is_wanted(seen.report, end):
        yield _Part("end", seen.report, end)
    if seen.cancelled and seen.cancellation and seen.cancellation.path:
        yield _Part("cancellation", seen.cancellation, outcome)


def _is_wanted(report: Report, outcome: Outcome) -> bool:
    """Whether atlas wants a report of this end. Most jobs publish their success themselves."""
    row = REQUEST_TYPES.get(report.request_type)
    published_by_job = outcome.reason == "succeeded" and not (row and row.verdicts)
    return bool(report.path) and not published_by_job


def _result(seen: Observation, part: _Part) -> Result:
    kind, report, outcome = part.kind, part.report, bounded(part.outcome)
    kwargs = _end(seen, report, outcome) if kind == "end" else {"status": _status(outcome)}
    result_id = _id(kind, seen, report)
    body = {"id": result_id, "task": report.task, "kwargs": {"run_id": report.run_id, **kwargs}, "retries": 0}
    return Result(
        id=result_id,
        kind=kind,
        path=report.path,
        scope=report.scope,
        run_id=report.run_id,
        body=_printable(body),
        traceparent=traceparent(report.traceparent),  # others may write to the cluster, and this becomes a header
    )


def _end(seen: Observation, report: Report, outcome: Outcome) -> dict[str, Any]:
    """How the job ended."""
    row = REQUEST_TYPES.get(report.request_type)
    if row is not None and row.verdicts:
        return {"status": _verdict(seen, outcome, row)}
    # A newer release's request type is not in the table: publish what every failure report has.
    more = row.failure(report, outcome) if row is not None else {}
    return {"status": _status(outcome), **more}


def _id(kind: Kind, seen: Observation, report: Report) -> str:
    """The id of a result.

    Driver, place and identity are not part of a confirmation's: a cancel may leave tombstones in several namespaces and
    engines, and all of them are one confirmation.
    """
    parts: tuple[str, ...] = (kind, seen.name, report.run_id)
    if kind == "end":
        parts = (kind, seen.driver, seen.name, seen.place, seen.identity, report.run_id)
    return str(uuid.uuid5(_NAMESPACE, msgspec.json.encode([printable(part) for part in parts]).decode()))


def bounded(outcome: Outcome) -> Outcome:
    """The outcome as atlas can store it: printable and masked, then cut.

    The sentence loses its end. The evidence loses its middle: it begins with facts and ends with the log's last lines.
    """
    hmessage, err = shown(outcome.hmessage), shown(outcome.err)
    if len(hmessage) > HMESSAGE_LIMIT:
        hmessage = f"{hmessage[: HMESSAGE_LIMIT - 1]}…"
    return msgspec.structs.replace(outcome, hmessage=hmessage, err=_without_middle(err))


def _without_middle(text: str) -> str:
    data = text.encode()
    if len(data) <= ERR_LIMIT:
        return text
    note = b"\n[the middle was left out]\n"
    tail = ERR_LIMIT - _ERR_HEAD - len(note)
    return (data[:_ERR_HEAD] + note + data[-tail:]).decode(errors="ignore")


def _printable(value: Any) -> Any:
    """The value with every string in it printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_printable(each) for each in value]
    return value


def _verdict(seen: Observation, outcome: Outcome, row: RequestType) -> int:
    """The job's exit code where that is a result, else the outcome's code."""
    return seen.main_exit if seen.main_exit in row.verdicts else outcome.code


def _status(outcome: Outcome) -> dict[str, Any]:
    return {"code": outcome.code, "hmessage": outcome.hmessage, "err": outcome.err}
