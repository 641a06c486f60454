"""What a job's Nomad Variable says: who has the name, what atlas is owed and, while it may run, its secrets. Pure.

The Variable at `nomad/jobs/{name}` is the lock. Nomad's own lock on a job's name, EnforceIndex, is checked before the
write and not by it: of two registers at once, both can be told that they were the first (nomad/job_endpoint.go in
1.11). A Variable's check-and-set is decided by the state machine itself.

It is a gate as well: the job's template asks for the item OPEN, and a task whose template can't be rendered is not
started. So whoever takes that item away has stopped the job, even one whose registration is still on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from runner.errors import Rejected
from runner.jobs import Cancellation, JobSpec, Report, Value
from runner.observation import Outcome

OPEN = "orchestrator_open"
FINGERPRINT = "orchestrator_fingerprint"
POOL = "orchestrator_pool"
REPORT = "orchestrator_report"
CANCELLED = "orchestrator_cancelled"
ENDED = "orchestrator_ended"
REPORTED = "orchestrator_reported"
NONCE = "orchestrator_nonce"

MAX_BYTES = 65536
"""Of a Variable's keys and values together (nomad/structs/variables.go); the names of ours are part of it."""

_LINE = 256
"""More than a template's line has besides the value."""

_LONGEST = 6
"""Bytes of a character, as JSON may have to write it (``\\u003c``); no more of it in UTF-8."""

PREFIX = "nomad/jobs/"


class Ended(Value, frozen=True):
    """Why we ended a job ourselves, and what was to be seen then."""

    timed_out: bool = False
    unschedulable: str = ""


class Record(Value, frozen=True):
    """A Variable of ours. `index` is what a check-and-set of it must name; times are Nomad's, in seconds."""

    fingerprint: str = ""
    pool: str = ""
    report: Report | None = None
    cancelled: Report | None = None
    ended: Ended | None = None
    reported: str = ""
    open: bool = False
    nonce: str = ""
    index: int = 0
    modified: float = 0.0
    age: float = 0.0

    def __repr__(self) -> str:
        words = ("open" if self.open else "closed", "cancelled" if self.cancelled else "", self.reported)
        return f"Record({', '.join(word for word in words if word)}, index={self.index})"


class Variable(msgspec.Struct, frozen=True, rename="pascal"):
    """A Variable as Nomad shows it; a list shows no items."""

    path: str
    items: dict[str, str] = {}
    create_index: int = 0
    modify_index: int = 0
    modify_time: int = 0

    @property
    def name(self) -> str:
        """The job's."""
        return self.path.removeprefix(PREFIX)

    @property
    def changed(self) -> bool:
        """Whether it was written again since its job was made. Most never are until the end."""
        return self.modify_index != self.create_index


def path(name: str) -> str:
    """Where a job's own Variable is, which Nomad lets the job read."""
    return f"{PREFIX}{name}"


def opened(job: JobSpec, secrets: Mapping[str, str], nonce: str = "") -> dict[str, str]:
    """The items of a job that may run; the nonce tells whose write it was."""
    ours = {
        OPEN: "yes",
        NONCE: nonce,
        FINGERPRINT: job.fingerprint,
        POOL: job.pool,
        REPORT: encode(job.report),
    }
    return {**ours, **secrets}


def closed(record: Record) -> dict[str, str]:
    """The items of a job that must not run, or not again: no secret is left."""
    items = {
        FINGERPRINT: record.fingerprint,
        POOL: record.pool,
        REPORT: encode(record.report) if record.report else "",
        CANCELLED: encode(record.cancelled) if record.cancelled else "",
        ENDED: encode(record.ended) if record.ended else "",
        REPORTED: record.reported,
    }
    return {name: value for name, value in items.items() if value}


def refuse_oversized(name: str, items: Mapping[str, str]) -> None:
    """Raises Rejected for more than Nomad keeps, or renders: a template's line is read into 64 KiB as well."""
    if _LONGEST * sum(map(len, (*items, *items.values()))) + _LINE <= MAX_BYTES:  # as most
        return
    size = sum(len(key.encode()) + len(value.encode()) for key, value in items.items())
    line = max(len(msgspec.json.encode(value)) + 5 * sum(map(value.count, "<>&")) for value in items.values())
    if max(size, line + _LINE) > MAX_BYTES:
        raise Rejected(f"the secrets of {name} have {max(size, line)} bytes; a Nomad Variable holds {MAX_BYTES}")


def cancelled(record: Record | None, cancellation: Cancellation) -> Record:
    """The same record, cancelled; or the mark that a late submit finds."""
    return msgspec.structs.replace(record or Record(), cancelled=cancellation.report)


def reported(record: Record, outcome: Outcome) -> Record:
    """The same record, once atlas has been told."""
    return msgspec.structs.replace(record, reported=outcome.reason)


def read(variable: Variable, now: float) -> Record | None:
    """What it says at that time of Nomad's, or None where it is none of ours."""
    items = variable.items
    if not any(name in items for name in (FINGERPRINT, CANCELLED)):
        return None
    return Record(
        fingerprint=items.get(FINGERPRINT, ""),
        pool=items.get(POOL, ""),
        report=decode(items.get(REPORT), Report),
        cancelled=decode(items.get(CANCELLED), Report),
        ended=decode(items.get(ENDED), Ended),
        reported=items.get(REPORTED, ""),
        open=OPEN in items,
        nonce=items.get(NONCE, ""),
        index=variable.modify_index,
        modified=variable.modify_time / 1e9,
        age=now - variable.modify_time / 1e9,
    )


def encode(value: Value) -> str:
    """As JSON, in which nothing is left that Nomad would interpolate."""
    return msgspec.json.encode(value).decode().replace("$", "\\u0024")


_Kept = TypeVar("_Kept", bound=Value)


def decode(text: str | None, kind: type[_Kept]) -> _Kept | None:
    """The value, or None where there is none or somebody has edited it."""
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.MsgspecError:
        return None
