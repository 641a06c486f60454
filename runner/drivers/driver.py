"""The protocol that every driver keeps, and the deadline that its methods take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from runner.errors import OrchestratorError
from runner.jobs import Cancellation, JobSpec, State
from runner.observation import Observation, Outcome
from runner.runtime.clock import Deadline

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
