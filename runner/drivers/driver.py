"""The protocol that every driver implements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from runner.errors import OrchestratorError
from runner.jobs import Cancellation, JobSpec, State
from runner.observation import Observation, Outcome
from runner.runtime.clock import Deadline

_Source = TypeVar("_Source")
_Item = TypeVar("_Item")


def each_of(sources: Iterable[_Source], read: Callable[[_Source], Iterable[_Item]]) -> Iterator[_Item]:
    """Read every source and yield the items. If one fails, the others are still read; then its error is raised."""
    failure: OrchestratorError | None = None
    for source in sources:
        try:
            yield from read(source)
        except OrchestratorError as error:
            failure = error
    if failure is not None:
        raise failure


class Retention(msgspec.Struct, frozen=True):
    """How long an ended job is kept, in seconds: after its end was reported, or after an end that was not reported."""

    reported: float
    orphaned: float


class Driver(Protocol):
    """What every driver does. All methods may be called from several threads and several processes at once.

    `submit`, `cancel` and `check` wait through `runner.runtime.concurrency`. Methods raise only these errors: Conflict,
    Rejected, Busy, Unavailable, Timeout.
    """

    name: str

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """Create the job unless a job of this name exists. Repeated calls create exactly one job.

        Returns after the cluster has accepted the job: `created` the first time, `exists` if a job with the same
        fingerprint exists, `cancelled` if the name was cancelled. Raises Conflict if the fingerprint differs.
        """

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """Stop the job of that name permanently.

        Returns `cancelled` if the job is being stopped or was cancelled before, and `exists` if it had already ended by
        itself. If there is no such job, returns None; with `tombstone`, writes a tombstone under its name, which a late
        submit finds, and returns `cancelled`. A job may be submitted later in any namespace of the driver, and a
        tombstone blocks its name in one namespace only. So a tombstone in one namespace does not count as the job: a
        repeated cancel makes sure that every namespace has one.
        """

    def list(self) -> Iterable[Observation]:
        """Every job that is still known, with its evidence. It only reads, so any process may call it."""

    def reconcile(self, expired: Retention | None = None) -> int:
        """Bring each job to the state that it should have. Only the tracker calls it, before each listing.

        Restarts jobs that a crash left waiting or incomplete, and ends overdue jobs. With `expired`, also removes jobs
        that ended longer ago than that, and returns their number; returns 0 if the cluster removes jobs by itself. A
        job that waits or runs is never removed.
        """

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """Record that atlas has received the outcome, so the job expires after the retention. Ignores unknown names."""

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """The last lines of a container's log: by default the main container's, before its start the init container's.
        Raises Rejected if there is no such job or container.
        """

    def check(self) -> None:
        """Check that jobs can be created now. Raises Unavailable, or Rejected with the name of what is missing."""
