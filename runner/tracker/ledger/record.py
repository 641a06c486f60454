"""What the tracker keeps of one job: its last observation, its outcome once decided, and the steps that remain."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

import msgspec

from runner.observation import Observation, Outcome
from runner.outcomes import contradicts, is_unexplained
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.judge import Cause, cause_of

Step = Literal["find", "explain", "evidence", "end", "publish", "mark", "set_aside"]
Key = tuple[str, str, str]
"""Place, name and identity."""

_EXPLANATIONS = ("image_error", "configuration_error", "not_admitted", "unschedulable")

_STORED = (
    *("cancelled", "cancellation", "ended_as", "lingers", "reported"),
    *("resent", "published", "set_aside", "answer", "unsettled"),
)
"""What is stored with the job itself: it is shown even where the evidence of the end is not any more."""

_ALTERNATING = frozenset({"image", "registry"})
"""A pause between two tries may not say why the last one failed, and a registry may answer now so, now otherwise."""


class Record(msgspec.Struct, eq=False):
    """One job that is not reported. Times are on the monotonic clock."""

    seen: Observation
    first_seen: float
    backoff: Backoff
    outcome: Outcome | None = None
    steps: deque[Step] = msgspec.field(default_factory=deque)
    due: float | None = None
    """When the next step, or the next judgement, is due."""
    busy: bool = False
    """A step is in progress."""
    changed: bool = False
    """The job was observed, or left the view, while a step was in progress."""
    left: bool = False
    """It is not shown any more."""
    gone: bool = False
    """It is not on the cluster any more, so it cannot be marked."""
    forgotten: bool = False
    accepted: set[str] = msgspec.field(default_factory=set)
    """The ids of the results that atlas has accepted."""
    cause: Cause = ""
    cause_since: float = 0.0
    since: dict[Cause, float] = {}
    """When the wait for each cause began. While an image's error alternates, it has both `image` and `registry`."""
    explained_at: float | None = None
    by_event: bool = False
    """Only an event says that it cannot be started as it is. That may pass without any change of the job or its pod."""
    decided_at: float = 0.0
    started_at: float | None = None
    """When its first container was seen running; None if it was not seen waiting before."""
    waits_from: float | None = None
    """Before this moment it did not wait for a node: it ran, a queue held it, or its driver did not end it."""
    tries: int = 0
    rereads: int = 0
    """How often a step found that the job is no longer as it was seen."""
    refusals: int = 0
    """How often atlas has refused its result for good."""
    unauthorized: bool = False
    """Its last attempt was answered by 401 or 403."""
    answer: str = ""
    """What atlas answered last, if it did not accept the result."""

    @property
    def key(self) -> Key:
        """See Key."""
        return key_of(self.seen)

    @property
    def step(self) -> Step | None:
        """The next step."""
        return self.steps[0] if self.steps else None

    def observe(self, seen: Observation, now: float) -> None:
        """Take in a later observation of the same job."""
        last, self.seen = self.seen, merged(self.seen, seen)
        self.by_event = self.by_event and not seen.configuration_error and seen.phase == "waiting"
        if last.phase == "waiting" and seen.phase == "running":
            self.started_at = now
        if "running" in (last.phase, seen.phase) or (last.held and not seen.held):
            self.waits_from = now
        is_cancelled, is_resent = seen.cancelled and not last.cancelled, seen.resent > last.resent
        if is_cancelled and self.outcome is not None and seen.ended_as is None and "end" not in self.steps:
            # It had ended before it was cancelled, and the cancel did not see that.
            self.seen = msgspec.structs.replace(self.seen, ended_as=self.outcome)
        if is_cancelled or is_resent or self._is_refuted(last):
            self.outcome = None
            self.steps.clear()
        if is_resent:  # its mark was taken away: all is sent again
            self.accepted.clear()
        self.set_cause(now)

    def _is_refuted(self, last: Observation) -> bool:
        """Whether it is to be ended for what no longer holds. Its driver compares the job only with the last view."""
        unstored = "end" in self.steps and self.seen.ended_as is None
        return self.outcome is not None and unstored and contradicts(self.seen, last, self.outcome)

    def waiting(self, now: float, wall: float) -> Observation:
        """As it was observed, but waiting at most since it ran or was held.

        A pod that was lost is replaced. And a queue may release a Job before the Job controller notes that it was held.
        """
        if self.waits_from is None or self.seen.queued_since is None:
            return self.seen
        since = max(self.seen.queued_since, wall - (now - self.waits_from))
        return msgspec.structs.replace(self.seen, queued_since=since)

    def explain(self, events: Observation) -> None:
        """Take in what the cluster's events say. The job has waited for that all along.

        `events` is an observation from before they were read. What was seen since stays.
        """
        if self.seen.phase == "waiting":
            found = {name: getattr(events, name) or getattr(self.seen, name) for name in _EXPLANATIONS}
            if self.by_event:
                found["configuration_error"] = events.configuration_error
            if self.seen.instance not in ("", events.instance):  # a pod was made while the events were read
                found["not_admitted"] = self.seen.not_admitted
            named = events.image_error or events.configuration_error
            wrong = found["image_error"] or found["configuration_error"]
            passes = bool(wrong) and (events if named else self.seen).registry_error
            self.seen = msgspec.structs.replace(self.seen, **found, delay=events.delay, registry_error=passes)
            self.cause = cause_of(self.seen)
            self.since = {self.cause: self.cause_since}
            self.by_event = (
                bool(events.configuration_error) and self.seen.configuration_error == events.configuration_error
            )

    def add_log(self, tail: str) -> None:
        """Add the last lines of the job's log to the evidence."""
        if self.outcome is not None and tail:
            self.seen = msgspec.structs.replace(self.seen, log_tail=tail)
            err = f"{self.outcome.err}\nlast lines of the log:\n{tail}".strip()
            self.outcome = msgspec.structs.replace(self.outcome, err=err)

    def set_cause(self, now: float) -> None:
        """Note since when it waits for its present cause."""
        cause = cause_of(self.seen)
        if not self.since or (cause != self.cause and not {cause, self.cause} <= _ALTERNATING):
            self.since = {}
        self.cause, self.cause_since = cause, self.since.setdefault(cause, now)

    def __repr__(self) -> str:
        outcome = self.outcome.reason if self.outcome else self.seen.phase
        return f"Record({self.seen.name}, {outcome}, next={self.step}{', busy' if self.busy else ''})"


class Taken(NamedTuple):
    """A step that is in progress: its record, and what was known when it began. The record may change meanwhile."""

    record: Record
    seen: Observation
    outcome: Outcome | None


def first_record(seen: Observation, now: float, backoff: Backoff) -> Record:
    """The record of a job that is seen for the first time."""
    record = Record(seen=seen, first_seen=now, backoff=backoff)
    record.set_cause(now)
    return record


def key_of(seen: Observation) -> Key:
    """The key of an observed job."""
    return (seen.place, seen.name, seen.identity)


def merged(last: Observation, seen: Observation) -> Observation:
    """The new observation of the same job, with what the last one showed and this one has no room for.

    A cancel is never taken back, nor is an outcome that was stored. A cluster removes the reason of a wait together
    with the pod, and shows a placeholder instead. A placeholder is no fact: while the job still waits, or has ended
    without any container having run, the last reason stays.
    """
    if last.phase in ("succeeded", "failed") and seen.ended_as is None and _shows_less(seen):
        kept = {name: getattr(seen, name) for name in _STORED}
        seen = msgspec.structs.replace(last, **kept)
    if last.cancelled and not seen.cancelled:  # seen before the cancel, and shown after it
        seen = msgspec.structs.replace(seen, cancelled=True, cancellation=last.cancellation)
    if seen.ended_as is None:
        seen = msgspec.structs.replace(seen, ended_as=last.ended_as)
    seen = _queued(last, seen)
    started = seen.phase in ("running", "succeeded") or seen.main_exit is not None or seen.init_exit not in (None, 0)
    if started or last.phase != "waiting" or any(getattr(seen, name) for name in _EXPLANATIONS):
        return seen
    history = _history(last, seen)
    kept = {name: getattr(last, name) for name in _EXPLANATIONS if name not in history}
    passes = last.registry_error and bool(kept.get("image_error") or kept.get("configuration_error"))
    return msgspec.structs.replace(seen, registry_error=passes, **kept)


def _queued(last: Observation, seen: Observation) -> Observation:
    """The observation with the time since when it is queued. A first pod that comes late does not start it anew."""
    is_first = last.instance == "" or (last.instance == seen.instance and not last.pod_delay)
    if seen.queued_since is None or not is_first:
        return seen
    return msgspec.structs.replace(seen, queued_since=seen.queued_since - seen.pod_delay, pod_delay=0.0)


def _history(last: Observation, seen: Observation) -> list[str]:
    """The reasons of the wait that are over: a pod was made since, a node has it, or one more container has started."""
    made = seen.instance not in ("", last.instance)
    started = ["image_error", "configuration_error"] * (made or seen.begun > last.begun)
    return ["not_admitted"] * (seen.scheduled or made) + ["unschedulable"] * seen.scheduled + started


def _shows_less(seen: Observation) -> bool:
    """Whether an observation after the end shows no end, or no reason for it: its pod is gone, or a list was stale."""
    bare = msgspec.structs.replace(seen, cancelled=False) if seen.cancelled else seen
    return seen.phase in ("waiting", "running") or (seen.phase == "failed" and is_unexplained(bare))
