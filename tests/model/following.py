"""The tracker's part, the same on both engines: how a record goes from an observation to a mark.

    listed ─▶ decided ─▶ find (if it left the view) ─▶ end (if it must be stored) ─▶ publish ─▶ mark ─▶ forgotten

The end is stored for a limit that was passed, and for a claim without a job: the job is read, judged again and written.
Each tracker follows one job at a time; records of different jobs share nothing. Two trackers are two leaders by
accident. Each step is one request, and a tracker may be killed between any two. See runner/tracker/ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from tests.model.explorer import Move

END, CANCELLATION = "end", "cancellation"
NAMES = "AB"


class Seen(NamedTuple):
    """See runner.observation.Observation."""

    identity: int
    phase: str
    """waiting, running, succeeded, failed, gone"""
    reason: str = ""
    """The reason that the evidence supports, of a failure."""
    cancelled: bool = False
    ended_as: str = ""
    published: str = ""
    reported: bool = False
    resent: int = 0
    unsettled: bool = False
    """Its request never made the job, and a repeat may be about to."""


class Record(NamedTuple):
    """See runner.tracker.record.Record."""

    seen: Seen
    outcome: str = ""
    step: str = ""
    sent: frozenset[str] = frozenset()
    gone: bool = False
    known: Any = None
    """What the end has read. Its write is guarded by that."""


class Sent(NamedTuple):
    """A result that atlas has kept."""

    id: tuple[Any, ...]
    identity: int
    kind: str
    reason: str


class Cluster(Protocol):
    """What the tracker asks of an engine. Each is one request, decided on the state as it is then."""

    without: frozenset[str]

    def observed(self, state: Any) -> Seen | None:
        """What a listing shows of the name; reported ones as well."""

    def found(self, state: Any) -> Seen | None:
        """See Driver.find."""

    def read_end(self, state: Any, record: Record) -> tuple[Any, bool | None]:
        """What Driver.end reads. None: it is to be written; else whether the job has this end."""

    def write_end(self, state: Any, record: Record) -> tuple[Any, bool | None]:
        """What Driver.end writes. None: another write came first, so the job is read again."""

    def mark(self, state: Any, record: Record, aside: bool) -> tuple[Any, bool]:
        """See Driver.mark_reported and Driver.set_aside."""

    def is_true(self, state: Any, record: Record, result: Sent) -> str:
        """Why this result is false as the cluster is now; empty if it is true."""

    def may_expire(self, state: Any, record: Record) -> bool:
        """Whether a limit may pass for this job."""

    def may_lose(self, state: Any, record: Record) -> bool:
        """Whether this tracker may be killed now (see Assumption)."""

    def may_send(self, state: Any, record: Record, result: Sent) -> bool:
        """Whether this tracker may publish now (see Assumption)."""


def classify(seen: Seen) -> str:
    """See runner.outcomes.classify."""
    if seen.ended_as and not seen.cancelled:
        return seen.ended_as
    if seen.phase in ("waiting", "running") and not seen.ended_as:
        return ""
    if seen.cancelled:
        return "5001" if seen.ended_as or seen.phase == "succeeded" else "5000"
    return {"succeeded": "succeeded", "gone": "deleted"}.get(seen.phase, seen.reason)


def contradicts(now: Seen, seen: Seen, outcome: str, without: frozenset[str]) -> bool:
    """See runner.outcomes.contradicts."""
    if seen.phase == "waiting" and now.phase == "running" and "end-sees-start" not in without:
        return True
    if seen.phase == "gone" and now.phase in ("waiting", "running") and "end-sees-job" not in without:
        return True
    by_itself = "" if now.ended_as or now.cancelled else classify(now)
    return by_itself not in ("", outcome) and "end-sees-end" not in without


def results(record: Record, without: frozenset[str]) -> list[Sent]:
    """See runner.tracker.results.results. A success is published by the job itself."""
    seen, outcome = record.seen, record.outcome
    found: list[Sent] = []
    if not seen.cancelled:
        ended = "" if seen.published else outcome
    else:
        ended = seen.ended_as if outcome == "5001" and not seen.published else ""
    if ended and ended != "succeeded":
        found.append(Sent(_id(END, seen.identity, ended, without), seen.identity, END, ended))
    if seen.cancelled:
        found.append(Sent((CANCELLATION,), seen.identity, CANCELLATION, outcome))
    return found


def missed_end(record: Record) -> str:
    """See runner.outcomes.missed_end."""
    return (record.seen.ended_as or "succeeded") if record.outcome == "5001" else ""


def said_otherwise(result: Sent, record: Record, said: str) -> str:
    """Why this result contradicts what atlas had before an operator asked for it again; empty if it does not."""
    confirmed = said in ("5000", "5001")
    if not (said and record.seen.resent) or result.reason == said or confirmed != (result.kind == CANCELLATION):
        return ""
    return f"{'a confirmation' if confirmed else 'an end'} was sent again with another reason"


def _id(kind: str, identity: int, reason: str, without: frozenset[str]) -> tuple[Any, ...]:
    job = () if "id-of-identity" in without else (identity,)
    return (kind, *job, *((reason,) if "id-without-reason" in without else ()))


def received(state: Any, result: Sent) -> Any:
    """The state once atlas has accepted the result: it keeps the first of an id."""
    bad = state.bad
    kept = next((each for each in state.atlas if each.id == result.id), None)
    if kept and kept.kind == END and kept.identity != result.identity:
        bad = bad or "two jobs' ends have one id, so atlas drops the second"
    pending = state.pending - {(result.identity, result.kind)}
    if result.kind == CANCELLATION and result.reason == "5000":
        pending -= {(result.identity, END)}
    return state._replace(atlas=state.atlas if kept else state.atlas | {result}, pending=pending, bad=bad)


def succeeded(state: Any, identity: int) -> Any:
    """The state once the job has published its own result."""
    result = Sent(("job", identity), identity, "success", "succeeded")
    return state._replace(atlas=state.atlas | {result}, pending=state.pending - {(identity, END)})


def promised(state: Any, identity: int, kind: str) -> Any:
    """The state once a client has an answer that promises this result."""
    if any(_keeps(each, identity, kind) for each in state.atlas):
        return state
    return state._replace(pending=state.pending | {(identity, kind)})


def asked_again(state: Any, seen: Seen) -> Any:
    """The state once an operator has an answer that all that atlas is to hear of the job is published again."""
    outcome = classify(seen)
    kinds = {(seen.identity, each.kind) for each in results(Record(seen._replace(published=""), outcome), frozenset())}
    return state._replace(pending=state.pending | kinds, resends=state.resends - 1)


def _keeps(result: Sent, identity: int, kind: str) -> bool:
    """Whether this result is what was promised. A cancel that stopped the run is its end as well."""
    if kind == CANCELLATION:
        return result.kind == CANCELLATION
    return result.identity == identity and (result.kind != CANCELLATION or result.reason == "5000")


def contradiction(state: Any) -> str:
    """What atlas has heard that cannot all be true of one job; empty if nothing."""
    ends: dict[int, set[Sent]] = {}
    for each in state.atlas:
        ends.setdefault(each.identity, set()).add(each)
    for heard in ends.values():
        if len(heard) < 2:
            continue
        kinds = [each.kind for each in heard]
        if kinds.count(END) > 1:
            return "one end was published under two ids"
        if END in kinds and "success" in kinds:
            return "a published success is contradicted by a failure"
        # A job that was deleted has left its name free, so a cancel of the name is true as well.
        ended = any(each.kind != CANCELLATION and each.reason != "deleted" for each in heard)
        if ended and any(each.reason == "5000" for each in heard):
            return "a published end is contradicted by a confirmation that the cancel stopped the run"
    return ""


class Tracker:
    """The moves of one tracker."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self._number = number
        self._cluster = cluster
        self._without = cluster.without
        self._name = f"tracker {NAMES[number]}"

    def moves(self, state: Any) -> Iterator[Move]:
        """All that it may do next, and that may happen to it."""
        record = state.trackers[self._number]
        if record is None or record.step != "write_end":  # what is seen during a request is heeded after it
            yield from self._list(state, record)
        if record is None:
            return
        if record.step:
            yield from getattr(self, f"_{record.step}")(state, record)
        elif not record.outcome and self._cluster.may_expire(state, record):
            yield (
                f"{self._name}: finds that the job has passed a limit",
                self._with(state, record._replace(outcome="limit", step=self._after_limit())),
            )
        if state.kills and self._cluster.may_lose(state, record):
            yield (
                f"fault: tracker {NAMES[self._number]} is killed",
                forget_lost(self._with(state._replace(kills=state.kills - 1), None)),
            )

    def _list(self, state: Any, record: Record | None) -> Iterator[Move]:
        shown = self._cluster.observed(state)
        if shown is not None and shown.reported:
            shown = None
        if record is None:
            if shown is not None:
                fresh = self._decided(Record(shown))
                yield f"{self._name}: lists the job, {_words(fresh)}", self._with(state, fresh)
        elif shown is not None and shown.identity == record.seen.identity:
            changed = self._observed(record, shown)
            if changed != record:
                yield f"{self._name}: sees that the job has changed, {_words(changed)}", self._with(state, changed)
            if state.stale and record.step in ("", "end"):
                missing = self._left(record)
                yield (
                    f"fault: tracker {NAMES[self._number]} gets a listing without the job",
                    self._with(state._replace(stale=state.stale - 1), missing),
                )
        elif not record.gone and record.step not in ("mark", "find", "aside"):
            yield f"{self._name}: sees that the job has left the view", self._with(state, self._left(record))

    def _left(self, record: Record) -> Record:
        """It was deleted, or reported by another tracker. See Ledger._left."""
        if "find-before-deleted" in self._without:
            return self._went(record)
        # An outcome for which the job was not ended yet is decided anew: nothing has happened so far.
        unstored = record.step == "end" and "find-drops-unstored" not in self._without
        return record._replace(step="find", outcome="" if unstored else record.outcome)

    def _went(self, record: Record) -> Record:
        seen = record.seen
        if seen.phase in ("waiting", "running") and not seen.ended_as:
            record = record._replace(seen=seen._replace(phase="gone"))
        return self._decided(record._replace(gone=True, step=""))

    def _find(self, state: Any, record: Record) -> Iterator[Move]:
        shown = self._cluster.found(state)
        if shown is None or shown.identity != record.seen.identity:
            after: Record | None = self._went(record)
        elif shown.reported:
            after = None
        else:
            after = self._decided(self._observed(record._replace(step=""), shown))
        what = (
            "finds it reported" if after is None else f"finds it {'gone' if after.gone else 'again'}, {_words(after)}"
        )
        yield f"{self._name}: asks for the job by name and {what}", self._with(state, after)

    def _observed(self, record: Record, shown: Seen) -> Record:
        """See Ledger._observe."""
        last, seen = record.seen, shown
        restarted = seen.cancelled and not last.cancelled and "cancel-restarts" not in self._without
        if last.phase in ("succeeded", "failed") and seen.phase == "failed":
            seen = seen._replace(reason=last.reason or seen.reason)
        if not last.unsettled:  # its job was seen
            seen = seen._replace(unsettled=False)
        if last.cancelled:  # a cancel is never taken back
            seen = seen._replace(cancelled=True)
        if last.cancelled and last.ended_as and not seen.ended_as and "cancelled-keeps-end" not in self._without:
            seen = seen._replace(ended_as=last.ended_as)
        record = record._replace(seen=seen)
        if restarted:
            stored = record.step != "end" or "cancel-drops-unstored" in self._without
            if record.outcome and not seen.ended_as and stored and "cancel-keeps-outcome" not in self._without:
                record = record._replace(seen=seen._replace(ended_as=record.outcome))
            record = record._replace(outcome="", step="")
        if seen.resent > last.resent and "resend-restarts" not in self._without:
            record = record._replace(outcome="", step="", sent=frozenset())
        refuted = record.step == "end" and not seen.ended_as and contradicts(seen, last, record.outcome, self._without)
        if refuted and "refuted-drops-unstored" not in self._without:
            record = record._replace(outcome="", step="")
        return record if record.step or record.outcome else self._decided(record)

    def _decided(self, record: Record) -> Record:
        """See Ledger._decide."""
        if record.outcome:
            return record._replace(step=self._next(record))
        outcome = classify(record.seen)
        if not outcome:
            return record
        return record._replace(outcome=outcome, step=self._next(record._replace(outcome=outcome)))

    def _next(self, record: Record) -> str:
        seen, unsent = record.seen, self._unsent(record)
        ends = seen.unsettled and unsent and not (seen.cancelled or seen.ended_as or record.gone)
        return "end" if ends and "unsettled-ends-first" not in self._without else self._after_end(record)

    def _unsent(self, record: Record) -> bool:
        return any(each.kind not in record.sent for each in results(record, self._without))

    def _after_end(self, record: Record) -> str:
        if "publish-before-mark" in self._without and not record.gone:
            return "mark"
        return "publish" if self._unsent(record) else "" if record.gone else "mark"

    def _after_limit(self) -> str:
        return "publish" if "end-before-publish" in self._without else "end"

    def _end(self, state: Any, record: Record) -> Iterator[Move]:
        known, done = self._cluster.read_end(state, record)
        if done is None:
            reading = record._replace(step="write_end", known=known)
            yield f"{self._name}: reads the job, to end it", self._with(state, reading)
        else:
            yield self._ended(state, record, done)

    def _write_end(self, state: Any, record: Record) -> Iterator[Move]:
        state, done = self._cluster.write_end(state, record)
        record = record._replace(known=None)
        if done is None:
            again = self._with(state, record._replace(step="end"))
            yield f"{self._name}: ends the job, which has changed since it was read", again
        else:
            yield self._ended(state, record, done)

    def _ended(self, state: Any, record: Record, done: bool) -> Move:
        if done or "refused-end-finds" in self._without:
            after = record._replace(step=self._after_end(record))
            return f"{self._name}: ends the job as {record.outcome}", self._with(state, after)
        # What was not stored has not happened: it is decided anew.
        kept = record.outcome if "refused-end-decides-anew" in self._without else ""
        refused = record._replace(step="find", outcome=kept)
        return f"{self._name}: ends the job, which is refused", self._with(state, refused)

    def _publish(self, state: Any, record: Record) -> Iterator[Move]:
        for result in results(record, self._without):
            if result.kind in record.sent:
                continue
            if not self._cluster.may_send(state, record, result):
                return
            after = record._replace(sent=record.sent | {result.kind})
            after = after._replace(step=self._next(after))
            if false := self._cluster.is_true(state, record, result):
                state = state._replace(bad=false)
            yield (
                f"{self._name}: publishes the {result.kind} as {result.reason}",
                self._with(received(state, result), after if after.step else None),
            )
            if state.refusals and not record.gone:
                refused = state._replace(refusals=state.refusals - 1)
                yield (
                    f"fault: atlas refuses the {result.kind} for good",
                    self._with(refused, record._replace(step="aside")),
                )
            return

    def _mark(self, state: Any, record: Record) -> Iterator[Move]:
        yield from self._marked(state, record, aside=False)

    def _aside(self, state: Any, record: Record) -> Iterator[Move]:
        yield from self._marked(state, record, aside=True)

    def _marked(self, state: Any, record: Record, *, aside: bool) -> Iterator[Move]:
        state, done = self._cluster.mark(state, record, aside)
        verb = "sets the job aside" if aside else "marks the job"
        if done:
            if aside:
                kinds = {(record.seen.identity, each.kind) for each in results(record, self._without)}
                state = state._replace(pending=state.pending - kinds)
            yield f"{self._name}: {verb}", self._with(state, None)
        elif "refused-mark-finds" in self._without:
            yield f"{self._name}: {verb}, which is refused", self._with(state, None)
        else:
            yield f"{self._name}: {verb}, which is refused", self._with(state, record._replace(step="find"))

    def _with(self, state: Any, record: Record | None) -> Any:
        if record is not None and record.outcome and not record.step:
            record = None
        trackers = tuple(record if number == self._number else each for number, each in enumerate(state.trackers))
        return state._replace(trackers=trackers)


def forget_lost(state: Any) -> Any:
    """Nobody is to report a job that somebody deleted and that no tracker remembers."""
    seen = [record.seen for record in state.trackers if record]
    known = {(each.identity, kind) for each in seen for kind in ((END, CANCELLATION) if each.cancelled else (END,))}
    return state._replace(
        pending=frozenset(each for each in state.pending if each in known or each[0] not in state.lost)
    )


def _words(record: Record) -> str:
    seen = record.seen
    words = [f"job {seen.identity}", seen.phase]
    if seen.cancelled:
        words.append("cancelled")
    if seen.ended_as:
        words.append(f"ended as {seen.ended_as}")
    if record.outcome:
        words.append(f"outcome {record.outcome}")
    return ", ".join(words)
