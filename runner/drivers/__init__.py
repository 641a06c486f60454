"""Drivers: each brings jobs to one kind of cluster and looks after them there.

In here: the protocol that all drivers keep, and one module (or a few with its name in front) for each driver. What a
driver promises is written down in `tests/conformance`, one suite for all of them. Not in here: what a job consists of
(`runner.commands` decides that) and what its end means (`runner.outcomes`). A driver's library never leaks: its
exceptions become ours, with the cause chained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from runner.errors import OrchestratorError, Timeout
from runner.jobs import Cancellation, JobSpec, State
from runner.outcomes import Observation, Outcome

Clock = Callable[[], float]
"""Seconds since the epoch."""


class Deadline(msgspec.Struct, frozen=True):
    """A moment on this host's monotonic clock, which no clock step moves and all its processes share."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """`seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()

    def check(self, doing: str) -> None:
        """Raises Timeout once the deadline has passed."""
        if self.left <= 0:
            raise Timeout(f"the deadline passed while {doing}; repeat the request")


_Place = TypeVar("_Place")


def each_of(places: Iterable[_Place], look: Callable[[_Place], Iterator[Observation]]) -> Iterator[Observation]:
    """What is seen at each place. One that cannot be seen does not hide the others; its error comes at the end."""
    trouble: OrchestratorError | None = None
    for place in places:
        try:
            yield from look(place)
        except OrchestratorError as error:
            trouble = error
    if trouble is not None:
        raise trouble


class Driver(Protocol):
    """What every driver does. All methods may be called from several threads and several processes at once.

    `submit`, `cancel` and `check` wait as `runner.waiting` has it. They all raise our errors only: Conflict,
    Rejected, Busy, Unavailable, Timeout.
    """

    name: str

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """Have exactly one job of this name, and say whether it is new.

        Returns after the cluster has accepted the job. `created` the first time; `exists` for the same fingerprint;
        `cancelled` where the name has been cancelled. Raises Conflict for another fingerprint.
        """

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """Stop the job of that name for good.

        `cancelled` once it is being stopped (or was before), `exists` where it had already ended by itself. Where
        there is no such job: None, or with `tombstone` a mark under its name that a late submit then finds. A mark is
        no job: it says nothing of the other places at which the job may yet arrive, so whoever cancels again makes
        sure that there is one at each of them.
        """

    def observe(self) -> Iterable[Observation]:
        """Every job that is still known, with its evidence. Also restarts what a crash left half-made."""

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """Remember that atlas has been told, and let the job go after the retention. Unknown names are no error."""

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """The last lines of a container's log (the main one's, or the init one's where the main has not begun).

        Raises Rejected where there is no such job or container.
        """

    def collect(self, retention: float, orphan_age: float) -> int:
        """Remove what may go, and give the number of jobs removed; none where the cluster does it by itself.

        An ended job may go `retention` seconds after its end was reported; one that nobody reported, `orphan_age`
        seconds after its end. One that waits or runs never does.
        """

    def check(self) -> None:
        """Raises Unavailable (or Rejected, naming what is missing) unless jobs can be made now."""
