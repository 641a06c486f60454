"""The ledger: the tracker's memory of one driver's jobs that are not reported yet.

It does no I/O. It can be rebuilt from a listing, except for two facts that only improve reports: the last
observation of a waiting job (a cluster may remove that evidence with the pod), and that a deleted job had existed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.tracker.outcomes import classify


class PendingResult(msgspec.Struct):
    """A result that atlas has not accepted yet, and when it is due (on the monotonic clock)."""

    seen: Observation
    outcome: Outcome
    due: float
    backoff: Backoff
    missing: bool = False
    """Whether the job is no longer listed."""


class Ledger:
    """The jobs that are not reported: the last observation of each, and the pending results."""

    def __init__(self, retention: float, clock: Clock, make_backoff: Callable[[], Backoff]) -> None:
        self._retention = retention
        self._clock = clock
        self._make_backoff = make_backoff
        self._updated = float("-inf")
        self._last_seen: dict[str, Observation] = {}
        self._pending: dict[str, PendingResult] = {}

    def __len__(self) -> int:
        """The number of pending results."""
        return len(self._pending)

    def update(self, listed: Iterable[Observation]) -> None:
        """Record a complete listing. A job that was listed before, is not reported and is missing now was deleted.

        That does not follow if the last listing is as old as the retention: another tracker may have reported the job,
        and the cluster may have removed it since.
        """
        if self._clock.monotonic() - self._updated >= self._retention:
            self._last_seen.clear()
        reported, others = set(), set()
        for seen in listed:
            if seen.reported:
                reported.add(seen.name)
            else:
                others.add(seen.name)
                self._note(seen)
        for name in reported - others:  # another tracker may have reported them
            self.forget(name)
        for name in {*self._last_seen, *self._pending} - others:
            self._note_missing(name)
        self._updated = self._clock.monotonic()

    def due(self) -> Iterator[tuple[str, PendingResult]]:
        """The results that are due now, the longest waiting first."""
        now = self._clock.monotonic()
        names = sorted((pending.due, name) for name, pending in self._pending.items() if pending.due <= now)
        for _, name in names:
            yield name, self._pending[name]

    def postpone(self, name: str) -> float:
        """Postpone a result. Gives the seconds until it is due again."""
        pending = self._pending[name]
        pause = pending.backoff.next()
        pending.due = self._clock.monotonic() + pause
        return pause

    def forget(self, name: str) -> None:
        """Remove the job from the ledger."""
        self._pending.pop(name, None)
        self._last_seen.pop(name, None)

    def _note(self, seen: Observation) -> None:
        outcome = classify(self._with_last_seen(seen))
        if pending := self._pending.get(seen.name):
            if outcome and seen.cancelled == pending.seen.cancelled and not pending.missing:
                return  # the same end again: the first observation has the most evidence, so it is kept
            self.forget(seen.name)  # a new job of the same name, or its cancellation
            outcome = classify(seen)
        if outcome:
            self._pending[seen.name] = self._pending_now(seen, outcome)
        elif not self._shows_less(seen):
            self._last_seen[seen.name] = seen

    def _shows_less(self, seen: Observation) -> bool:
        """Whether the job still waits but no longer shows why. Its pod may be terminating."""
        last = self._last_seen.get(seen.name)
        explained = seen.image_error or seen.configuration_error or seen.unschedulable
        return bool(last and last.phase == seen.phase == "waiting" and not explained)

    def _note_missing(self, name: str) -> None:
        if name not in self._pending:
            seen = msgspec.structs.replace(self._last_seen[name], phase="gone", ended=self._clock.wall())
            outcome = classify(seen)
            assert outcome is not None
            self._pending[name] = self._pending_now(seen, outcome)
        self._pending[name].missing = True

    def _with_last_seen(self, seen: Observation) -> Observation:
        """Add the evidence seen while the job waited: at a timeout a cluster may remove it together with the pod."""
        last = self._last_seen.get(seen.name)
        if last is None or not seen.timed_out or seen.main_exit is not None:
            return seen
        return msgspec.structs.replace(
            seen,
            image_error=seen.image_error or last.image_error,
            configuration_error=seen.configuration_error or last.configuration_error,
            unschedulable=seen.unschedulable or (last.unschedulable if last.phase == "waiting" else ""),
        )

    def _pending_now(self, seen: Observation, outcome: Outcome) -> PendingResult:
        return PendingResult(seen, outcome, self._clock.monotonic(), self._make_backoff())
