"""The content of a job's Nomad Variable: fingerprint, report and, while the job may run, its secrets. Pure.

The Variable at `nomad/jobs/{name}` is the lock of the name. Nomad's own lock on a job's name, EnforceIndex, is checked
before the write and not with it: two registers at once can both succeed as the first (nomad/job_endpoint.go in 1.11). A
Variable's check-and-set is decided by Nomad's state machine.

The Variable also decides whether a task may start: the job's template reads the item OPEN, and Nomad starts no task
whose template cannot be rendered. A Variable with that item is open; without it, closed. Closing the Variable stops a
job from starting, even if its registration arrives later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from runner.drivers.claims import NEW, YIELDED
from runner.drivers.nullable import Nullable, NullIsAbsent
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
PUBLISHED = "orchestrator_published"
SET_ASIDE = "orchestrator_set_aside"
ANSWER = "orchestrator_answer"
RESENT = "orchestrator_resent"
NONCE = "orchestrator_nonce"
CLAIM = "orchestrator_claim"
"""What became of its claim to the name, where pools lead to several places (see runner.drivers.claims)."""

FREE = "deleted"
"""The reported reason of a name that is free: its job is gone, or was to run in another place."""

MAX_BYTES = 65536
"""The limit for a Variable's keys and values together (nomad/structs/variables.go), our own items included."""

_LINE = 256
"""An upper bound for the bytes of a template's line without the value."""

_LONGEST = 6
"""The largest number of bytes of one character in JSON (``\\u003c``). In UTF-8 it has fewer."""

PREFIX = "nomad/jobs/"


LONGEST_EVIDENCE = 4000
"""Characters of evidence that are stored with an outcome: at most 24 KB of the 64 that a Variable may have."""


class Ended(Value, frozen=True):
    """Why the driver ended a job, or how it had ended before a cancel or a resend, and the evidence at that time."""

    timed_out: bool = False
    unschedulable: str = ""
    outcome: Outcome | None = None


class JobVariable(Value, frozen=True):
    """The decoded Variable of a job. A check-and-set must pass `index`. Times are from Nomad's clock, in seconds."""

    fingerprint: str = ""
    pool: str = ""
    report: Report | None = None
    cancelled: Report | None = None
    ended: Ended | None = None
    reported: str = ""
    """The reason that was reported last. Nothing is left to report until a cancel comes."""
    published: str = ""
    """The reason of the end that atlas had accepted when a cancel came."""
    set_aside: bool = False
    """Atlas refused the report for good."""
    answer: str = ""
    """The answer with which atlas refused it."""
    resent: int = 0
    """See Observation.resent."""
    open: bool = False
    claim: str = ""
    """A new or yielded one is closed, and has no job."""
    nonce: str = ""
    """The nonce of the submit that wrote it. Variables that release 0.1 closed have none."""
    index: int = 0
    modified: float = 0.0
    age: float = 0.0

    @property
    def free(self) -> bool:
        """Whether a submit may take the name. One whose end is stored stays taken: a repeat gets that answer."""
        return self.reported == FREE and self.ended is None

    @property
    def awaits_submit(self) -> bool:
        """Whether the submit that wrote it is to register its job."""
        return self.open or (self.claim == NEW and not (self.cancelled or self.ended or self.reported))

    def __repr__(self) -> str:
        words = ("open" if self.open else "closed", "cancelled" if self.cancelled else "", self.reported)
        return f"JobVariable({', '.join(word for word in words if word)}, index={self.index})"


class VariableStub(NullIsAbsent, frozen=True, rename="pascal"):
    """A Variable as Nomad returns it. In a list it has no items."""

    path: str
    items: Nullable[dict[str, str]] = {}
    create_index: Nullable[int] = 0
    modify_index: Nullable[int] = 0
    modify_time: Nullable[int] = 0

    @property
    def name(self) -> str:
        """The name of the job."""
        return self.path.removeprefix(PREFIX)

    @property
    def changed(self) -> bool:
        """Whether it was written again after it was created. Most are not before the end of their job."""
        return self.modify_index != self.create_index


def variable_path(name: str) -> str:
    """The path of a job's Variable. Nomad allows a job to read the Variable at this path."""
    return f"{PREFIX}{name}"


def open_items(job: JobSpec, secrets: Mapping[str, str], nonce: str = "") -> dict[str, str]:
    """The items of a job that may run. `nonce` identifies the submit that writes them."""
    ours = {
        OPEN: "yes",
        NONCE: nonce,
        FINGERPRINT: job.fingerprint,
        POOL: job.pool,
        REPORT: encode(job.report),
    }
    return {**ours, **secrets}


def claim_of(job: JobSpec, nonce: str) -> JobVariable:
    """A new claim to the job's name: a closed Variable, so no job can start."""
    return JobVariable(fingerprint=job.fingerprint, pool=job.pool, report=job.report, nonce=nonce, claim=NEW)


def with_claim_yielded(variable: JobVariable) -> JobVariable:
    """The same Variable after its claim has yielded to another place. The name is free here."""
    return msgspec.structs.replace(variable, claim=YIELDED, reported=FREE, open=False)


def closed_items(variable: JobVariable) -> dict[str, str]:
    """The items of a job that must not start, or not again. They contain no secret."""
    items = {
        NONCE: variable.nonce,
        FINGERPRINT: variable.fingerprint,
        POOL: variable.pool,
        REPORT: encode(variable.report) if variable.report else "",
        CANCELLED: encode(variable.cancelled) if variable.cancelled else "",
        ENDED: encode(variable.ended) if variable.ended else "",
        REPORTED: variable.reported,
        PUBLISHED: variable.published,
        SET_ASIDE: "yes" if variable.set_aside else "",
        ANSWER: variable.answer,
        RESENT: str(variable.resent or ""),
        CLAIM: variable.claim,
    }
    return {name: value for name, value in items.items() if value}


def check_size(name: str, items: Mapping[str, str]) -> None:
    """Raises Rejected if the items exceed Nomad's limit for a Variable, or for a line of a template (also 64 KiB)."""
    if _LONGEST * sum(map(len, (*items, *items.values()))) + _LINE <= MAX_BYTES:  # the usual case
        return
    size = sum(len(key.encode()) + len(value.encode()) for key, value in items.items())
    line = max(len(msgspec.json.encode(value)) + 5 * sum(map(value.count, "<>&")) for value in items.values())
    needed = max(size, line + _LINE)
    if needed > MAX_BYTES:
        raise Rejected(
            f"the secrets of {name} need {needed} bytes, and a Nomad Variable holds at most {MAX_BYTES}; shorten them"
        )


def with_cancellation(
    variable: JobVariable | None, cancellation: Cancellation, ended: Outcome | None = None, nonce: str = ""
) -> JobVariable:
    """The same Variable, cancelled; without one, the tombstone that a late submit finds, with this nonce.

    `ended`: how the run had ended before. What was reported then is kept as `published`, since the cancellation itself
    has yet to be reported.
    """
    variable = variable or JobVariable(nonce=nonce)
    return msgspec.structs.replace(
        variable,
        cancelled=cancellation.report,
        ended=_ended_as(ended) if ended else variable.ended,
        published=published(variable),
        reported="",
        set_aside=False,
        answer="",
    )


def with_end(variable: JobVariable, outcome: Outcome) -> JobVariable:
    """The same Variable after the driver has ended the job for that outcome."""
    return msgspec.structs.replace(variable, ended=_ended_as(outcome), open=False)


def with_outcome(variable: JobVariable, outcome: Outcome, refusal: str | None = None) -> JobVariable:
    """The same Variable after atlas has received the outcome, or has refused it for good, with that answer."""
    return msgspec.structs.replace(
        variable, reported=outcome.reason, set_aside=refusal is not None, answer=refusal or ""
    )


def with_resend(variable: JobVariable, outcome: Outcome | None) -> JobVariable:
    """The same Variable without its mark. `outcome`: what is sent again, if that is not stored yet."""
    again = msgspec.structs.replace(variable, reported="", published="", set_aside=False, answer="")
    again = msgspec.structs.replace(again, resent=variable.resent + 1)
    if outcome is None or variable.cancelled:
        return again
    return msgspec.structs.replace(again, ended=_ended_as(outcome))


def published(variable: JobVariable) -> str:
    """The reason of the end that atlas has accepted; empty if it has not."""
    accepted = not (variable.cancelled or variable.set_aside)
    return variable.published or (variable.reported if accepted else "")


def _ended_as(outcome: Outcome) -> Ended:
    return Ended(outcome=msgspec.structs.replace(outcome, err=outcome.err[:LONGEST_EVIDENCE]))


def read_variable(stub: VariableStub, now: float) -> JobVariable | None:
    """Decode the Variable; `now` is Nomad's clock. None if it is not the Orchestrator's."""
    items = stub.items
    if not any(name in items for name in (FINGERPRINT, CANCELLED)):
        return None
    return JobVariable(
        fingerprint=items.get(FINGERPRINT, ""),
        pool=items.get(POOL, ""),
        report=decode(items.get(REPORT), Report),
        cancelled=decode(items.get(CANCELLED), Report),
        ended=decode(items.get(ENDED), Ended),
        reported=items.get(REPORTED, ""),
        published=items.get(PUBLISHED, ""),
        set_aside=SET_ASIDE in items,
        answer=items.get(ANSWER, ""),
        resent=int(resent) if (resent := items.get(RESENT, "")).isdecimal() else 0,
        open=OPEN in items,
        nonce=items.get(NONCE, ""),
        claim=items.get(CLAIM, ""),
        index=stub.modify_index,
        modified=stub.modify_time / 1e9,
        age=now - stub.modify_time / 1e9,
    )


def encode(value: Value) -> str:
    """Encode as JSON without a dollar sign, so that Nomad interpolates nothing."""
    return msgspec.json.encode(value).decode().replace("$", "\\u0024")


_Kept = TypeVar("_Kept", bound=Value)


def decode(text: str | None, kind: type[_Kept]) -> _Kept | None:
    """Decode the value. None if there is none, or if it was edited and is invalid."""
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.MsgspecError:
        return None
