"""The protocol that every driver keeps, and the deadline that its methods take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from runner.errors import OrchestratorError
from runner.jobs import Cancellation, JobSpec, State
from runner.observation import Observation, Outcome
from runner.runtime.clock import Deadline

_Place = TypeVar("_Place")
_Item = TypeVar("_Item")


def each_of(places: Iterable[_Place], read: Callable[[_Place], Iterable[_Item]]) -> Iterator[_Item]:
    """What `read` gives for each place. A place that fails does not hide the others; its error is raised at the end."""
    failure: OrchestratorError | None = None
    for place in places:
        try:
            yield from read(place)
        except OrchestratorError as error:
            failure = error
    if failure is not None:
        raise failure


class Retention(msgspec.Struct, frozen=True):
    """How long ended jobs are kept, in seconds after their end was reported, and after an end that nobody reported."""

    reported: float
    orphaned: float


class Driver(Protocol):
    """What every driver does. All methods may be called from several threads and several processes at once.

    `submit`, `cancel` and `check` wait by `runner.runtime.concurrency`. All methods raise our errors only: Conflict,
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

    def list(self) -> Iterable[Observation]:
        """Every job that is still known, with its evidence. Reads, and changes nothing: anybody may call it."""

    def reconcile(self, expired: Retention | None = None) -> int:
        """Do what a job's state calls for. The tracker alone calls it, before each listing.

        Restarts what a crash left waiting or half-made and ends what is overdue. With `expired`, also removes the jobs
        that are older, and gives their number; 0 where the cluster removes them by itself. A job that waits or runs is
        never removed.
        """

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """Remember that atlas has been told, and let the job go after the retention. Unknown names are no error."""

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """The last lines of a container's log (the main one's, or the init one's where the main has not begun).

        Raises Rejected where there is no such job or container.
        """

    def check(self) -> None:
        """Raises Unavailable (or Rejected, naming what is missing) unless jobs can be made now."""
