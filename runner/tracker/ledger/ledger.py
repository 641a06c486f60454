"""The ledger: the tracker's memory of the jobs of one driver that are not reported yet.

It does no I/O. Sources write what they see (`View`), and `take` gives the next step that is due:

    observed ─▶ ended?     no ─▶ judged again when a limit may have passed ─▶ explain ─▶ end
                           yes ─▶ find (only if the evidence is poor) ─▶ evidence ─▶ publish ─▶ mark ─▶ forgotten

The outcome of a job is decided once and kept: nothing that is seen later contradicts it, except that a cancel adds its
confirmation. A listing rebuilds all of it, except what only improves a report: evidence that the cluster has removed.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from runner.config.types import LimitsSection
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.tracker.ledger.agenda import Agenda
from runner.tracker.ledger.finished import FinishedJobs
from runner.tracker.ledger.judge import RECENT_SECONDS, Passed, judge
from runner.tracker.ledger.planning import POOR, as_it_ended, explain_in, remaining, replaced
from runner.tracker.ledger.record import Key, Record, Step, Taken, first_record, key_of


class Ledger:
    """The records of one driver's jobs. Several tasks may use it at once: each method holds its lock, none waits."""

    def __init__(
        self, limits: LimitsSection, clock: Clock, make_backoff: Callable[[], Backoff], wake: Callable[[], None]
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._make_backoff = make_backoff
        self._wake = wake
        self._lock = threading.RLock()
        self._agenda = Agenda()
        self._records: dict[Key, Record] = {}
        self._finished = FinishedJobs()
        self.closed = False
        self.heard = clock.monotonic()
        """When a source last heard from the cluster."""

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Ledger({len(self._records)} jobs, {len(self.pending())} results pending)"

    def records(self) -> list[Record]:
        """All of them."""
        with self._lock:
            return list(self._records.values())

    def pending(self) -> list[Record]:
        """The records whose outcome is decided and not reported."""
        return [record for record in self.records() if record.outcome is not None]

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        """See View.replace. A job that is missing in the listing is looked up by name before anything follows."""
        self._apply(partial(self._replace, place, listed))

    def update(self, seen: Observation) -> None:
        """See View.update."""
        self._apply(partial(self._note, seen))

    def left(self, seen: Observation) -> None:
        """See View.left."""
        self._apply(partial(self._note_left, seen))

    def alive(self) -> None:
        """See View.alive."""
        self.heard = self._clock.monotonic()

    def take(self, step: Step, due_before: float = math.inf) -> Taken | None:
        """The record whose `step` has been due for the longest, marked as busy; None if none is due (by then)."""
        with self._lock:
            now = min(self._clock.monotonic(), due_before)
            if self.closed or (record := self._agenda.pop(step, now)) is None:
                return None
            record.busy, record.changed = True, False
            return Taken(record, record.seen, record.outcome)

    def judge_due(self) -> None:
        """Judge every waiting job whose time has come."""
        with self._lock:
            while (record := self._agenda.pop(None, self._clock.monotonic())) is not None:
                record.due = None
                self._decide(record)

    def next_due(self, steps: Iterable[Step]) -> float | None:
        """Seconds until the next judgement or one of these steps is due; None if only a change matters."""
        with self._lock:
            due = self._agenda.next((None, *steps))
        return None if due is None else max(0.0, due - self._clock.monotonic())

    def found(self, record: Record, seen: Observation | None) -> None:
        """A job was looked up by name, with this result."""
        with self._lock:
            record.busy = record.changed = record.left = False
            record.steps.clear()
            if seen is not None and replaced(record, seen):
                self._forget(record)
            elif seen is None or key_of(seen) != record.key:
                record.gone = True
                self._decide(record, confirmed=True)
            elif record.seen.cancelled and not seen.cancelled:  # it was read before its cancel
                self._plan(record, ["find"])
            elif seen.reported:
                self._forget(record)
            else:
                record.observe(seen, self._clock.monotonic())
                self._decide(record, confirmed=True)

    def explained(self, record: Record, seen: Observation) -> None:
        """The events of a job were read."""
        with self._lock:
            record.busy = record.changed = False
            record.explained_at = self._clock.monotonic()
            record.steps.clear()
            record.explain(seen)
            self._decide(record)

    def did(self, record: Record, step: Step) -> None:
        """The step that was taken is done. After the last one, the record is forgotten."""
        with self._lock:
            record.busy, record.due = False, self._clock.monotonic()
            if record.step == step:
                record.steps.popleft()
            record.tries = record.refusals = 0
            record.backoff.reset()
            self._after_step(record)

    def postpone(self, record: Record, at_least: float = 0.0) -> float:
        """The step has failed and is tried again later. Gives the seconds until then."""
        with self._lock:
            record.busy, record.tries = False, record.tries + 1
            pause = max(record.backoff.next(), at_least)
            record.due = self._clock.monotonic() + pause
            self._after_step(record)
            return pause

    def give_back(self, record: Record) -> None:
        """The step was not tried. It stays due."""
        with self._lock:
            record.busy = False
            self._after_step(record)

    def add_log(self, record: Record, tail: str) -> None:
        """Add the last lines of its log to the evidence."""
        with self._lock:
            record.add_log(tail)

    def set_aside(self, record: Record) -> None:
        """Atlas refuses the result for good: the job is set aside. One that is gone is forgotten."""
        with self._lock:
            record.busy = False
            self._plan(record, [] if record.gone else ["set_aside"])

    def find_again(self, record: Record, *, undecided: bool = False, not_ended: bool = False) -> None:
        """It is no longer as the record says: it is read by name, and judged again if `undecided`."""
        with self._lock:
            record.busy = False
            record.outcome = None if undecided else record.outcome
            if not_ended:  # by its driver: what it was to be ended for is over; a run that nobody saw may have followed
                record.waits_from = self._clock.monotonic()
            pause = record.backoff.next() if record.tries or record.rereads else 0.0  # nothing may spin
            record.tries, record.rereads = record.tries + 1, record.rereads + 1
            self._plan(record, ["find"], pause)

    def release(self, step: Step) -> None:
        """Atlas answers again: every record that waits to repeat this step is due now."""
        with self._lock:
            for record in self._records.values():
                if record.step == step and record.tries and not record.refusals and not record.busy:
                    record.due = self._clock.monotonic()
                    self._agenda.put(record)

    def _apply(self, change: Callable[[], None]) -> None:
        with self._lock:
            if self.closed:
                return
            change()
            self.heard = self._clock.monotonic()
        self._wake()

    def _replace(self, place: str, listed: Iterable[Observation]) -> None:
        shown = set()
        for seen in listed:
            shown.add(key_of(seen))
            self._note(seen)
        for record in self.records():
            if record.seen.place == place and record.key not in shown:
                self._left(record)
        self._finished.listed(place, shown)

    def _note(self, seen: Observation) -> None:
        if self._finished.has(seen):
            return
        record = self._records.get(key_of(seen))
        if seen.reported:
            if record is not None and not record.busy:
                self._forget(record)
            return
        if record is None:
            record = first_record(seen, self._clock.monotonic(), self._make_backoff())
            self._records[record.key] = record
        else:
            record.left = record.gone = False
            record.observe(seen, self._clock.monotonic())
        self._changed(record)

    def _note_left(self, seen: Observation) -> None:
        self._finished.left(seen)
        if record := self._records.get(key_of(seen)):
            self._left(record)

    def _left(self, record: Record) -> None:
        record.left = True
        if not record.gone:
            self._changed(record)

    def _changed(self, record: Record) -> None:
        if record.busy:
            record.changed = True
        else:
            self._decide(record)

    def _after_step(self, record: Record) -> None:
        """After a step: heed what was seen meanwhile, and enter the next step, or forget the record."""
        if record.outcome is not None and not record.steps:
            self._forget(record)
        elif record.changed and record.step != "find" and (record.outcome is None or record.left):
            self._decide(record)
        else:
            self._agenda.put(record)
        record.changed = False

    def _decide(self, record: Record, *, confirmed: bool = False) -> None:
        """Decide on the outcome and the steps that remain, or on when to judge again."""
        if record.left and not record.gone and record.step != "mark":
            # Deleted, or reported by another tracker: they look alike. A mark finds out by itself.
            if "end" in record.steps:  # it was not ended yet, so its outcome is decided anew
                record.outcome = None
            self._plan(record, ["find"])
        elif record.outcome is not None:
            if not record.steps:
                self._plan(record, remaining(record))
        else:
            outcome = classify(seen := as_it_ended(record))
            if outcome is not None and (confirmed or outcome.reason not in POOR):
                record.seen = seen
                self._end_as(record, outcome)
            elif record.step != "find":  # else it is about to be read, and decided upon then
                self._plan(record, ["find"]) if outcome else self._judge(record)

    def _judge(self, record: Record) -> None:
        now, wall = self._clock.monotonic(), self._clock.wall()
        verdict = judge(record.waiting(now, wall), now - record.cause_since, wall, self._limits)
        unexplained = explain_in(record, now)
        recently = record.explained_at is not None and now - record.explained_at < RECENT_SECONDS
        if unexplained == 0.0 or (unexplained is not None and isinstance(verdict, Passed) and not recently):
            self._plan(record, ["explain"])
        elif isinstance(verdict, Passed):
            self._end_as(record, verdict.outcome, end=True)
        else:
            self._judge_in(
                record, min((each for each in (verdict.seconds, unexplained) if each is not None), default=None)
            )

    def _judge_in(self, record: Record, seconds: float | None) -> None:
        record.steps.clear()
        record.due = None if seconds is None else self._clock.monotonic() + seconds
        self._agenda.put(record)

    def _end_as(self, record: Record, outcome: Outcome, *, end: bool = False) -> None:
        left = record.seen.ends_by - self._clock.wall() if outcome.reason == "timed_out" else 0.0
        if left > 0:  # it is being stopped, and may yet end by itself
            self._judge_in(record, left)
        else:
            record.outcome, record.decided_at = outcome, self._clock.monotonic()
            self._plan(record, remaining(record, end=end))

    def _plan(self, record: Record, steps: list[Step], pause: float = 0.0) -> None:
        record.steps, record.due = deque(steps), self._clock.monotonic() + pause
        if steps:
            self._agenda.put(record)
        else:
            self._forget(record)

    def _forget(self, record: Record) -> None:
        record.forgotten = True
        self._records.pop(record.key, None)
        self._finished.add(record)
