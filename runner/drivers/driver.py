"""The protocol that every driver implements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from runner.drivers.claiming import Place
from runner.drivers.logs.following import Received
from runner.drivers.several import AtOnce, Submit
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


SET_ASIDE_SECONDS = 7 * 86400
"""How long a job is kept whose result atlas refuses for good."""


class Retention(msgspec.Struct, frozen=True):
    """How long an ended job is kept, in seconds: after its end was reported, or after an end that was not reported."""

    reported: float
    orphaned: float


class Due(msgspec.Struct, frozen=True):
    """What `reconcile` would do with one job, and why: a sentence without its end."""

    name: str
    place: str
    action: Literal["start", "end", "stop", "settle", "remove"]
    why: str

    @classmethod
    def settling(cls, name: str, place: str) -> Due:
        """A claim that was assumed (see runner.drivers.claims)."""
        return cls(name, place, "settle", "another engine did not answer when its name was taken")


class View(Protocol):
    """What the tracker knows of the jobs in one driver's places. A source keeps it up to date. It does no I/O."""

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        """A complete listing of the jobs in a place that are not reported."""

    def update(self, seen: Observation) -> None:
        """One job as it is now."""

    def left(self, seen: Observation) -> None:
        """A job is not shown any more: it was deleted or reported. The observation may have its identity alone."""

    def alive(self) -> None:
        """The source has just heard from the cluster, and nothing has changed."""


class Source(Protocol):
    """Follows the jobs in one place, or one kind of object in it. What a list shows is enough; an edge only hastens."""

    name: str
    """For logs and metrics, like `kubernetes/ci pods`."""
    pause: float
    """Seconds from one session to the next, if it ended well."""

    def follow(self, view: View) -> None:
        """One session: list the jobs, then pass on each change until the connection ends.

        It ends within a minute or so, or raises OrchestratorError; the tracker then starts the next session.
        """


class LeaderRecord(NamedTuple):
    """What is stored of the leadership."""

    holder: str
    """Empty if the leadership was released."""
    version: str
    """Every write changes it."""
    accepted: Sequence[str] = ()
    """The ids of results that atlas has accepted and whose jobs may not be marked yet: a few hundred at most."""


class LeaderStore(Protocol):
    """One record on a cluster, written by check-and-set."""

    where: str
    """For the log, like `Lease ci/orchestrator-tracker`."""

    def read(self, deadline: Deadline) -> LeaderRecord | None:
        """The record as it is now. None if there is none."""

    def write(self, holder: str, version: str, deadline: Deadline, accepted: Sequence[str] = ()) -> str | None:
        """Write the record if its version is still that (empty: there is none). The new version, None if it was not.

        An empty holder releases the leadership.
        """


class Driver(Protocol):
    """What every driver does. All methods may be called from several threads and several processes at once.

    `submit`, `cancel` and `check` wait through `runner.runtime.concurrency`. Methods raise only these errors: Conflict,
    Rejected, Busy, Unavailable, Timeout.
    """

    name: str

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """Create the job unless a job of this name exists. Repeated calls create exactly one job.

        Returns after the cluster has accepted the job: `created` the first time, `exists` if a job with the same
        fingerprint exists, `cancelled` if the name was cancelled. Raises Conflict if the fingerprint differs. The job
        may exist in another place that a pool leads to: see `runner.drivers.claims`.
        """

    def submitter(self, jobs: Sequence[JobSpec], deadline: Deadline, at_once: AtOnce) -> Submit:
        """A `submit` for the many jobs of one request. If it is a repeat, what exists is read first.

        For each job that exists and is complete, it then writes nothing and resolves no secret. See
        `runner.drivers.several`.
        """

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """Stop the job of that name permanently.

        Returns `cancelled` if the job is being stopped or was cancelled before, and `exists` if it had already ended by
        itself. If there is no such job, returns None; with `tombstone`, writes a tombstone under its name, which a late
        submit finds, and returns `cancelled`. A job may be submitted later in any namespace of the driver, and a
        tombstone blocks its name in one namespace only. So a tombstone in one namespace does not count as the job: a
        repeated cancel makes sure that every namespace has one.
        """

    def places(self) -> Sequence[Place]:
        """Where its pools lead, for the drivers of other engines. Empty if nothing really runs there."""

    def join(self, engines: Sequence[Driver]) -> None:
        """Pass the drivers of the other engines that pools lead to. From then on, a submit reads the name there too."""

    def complete(self, job: JobSpec, deadline: Deadline) -> State | None:
        """Complete a submit whose name is settled in this engine, and that may have died before its last step.

        For a request that leads to another engine. None if there is nothing to complete: a job here is made at once.
        """

    def list(self) -> Iterable[Observation]:
        """Every job that is still known, reported ones as well. It only reads, so any process may call it."""

    def sources(self) -> Sequence[Source]:
        """What the tracker follows: together they show every job that is not reported."""

    def find(self, seen: Observation) -> Observation | None:
        """The job that has this name in this place now, with all its evidence. None if there is none.

        It may be another job: compare the identity.
        """

    def explain(self, seen: Observation) -> Observation:
        """The same observation with what only the cluster's events say: why no pod was made, why none starts."""

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """End the job with this identity for that outcome, and store the outcome in the same write.

        The name stays taken. Ending it twice keeps the first outcome. False if it was not ended for that reason: no job
        has this identity any more, it was cancelled, it has ended otherwise, or it does not wait as it was seen to.
        """

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        """Record that atlas has what it is to hear of the job with this identity; it expires after the retention.

        False if it did not: no job has this identity any more, or after this observation it was cancelled or its result
        was asked for again.
        """

    def set_aside(self, seen: Observation, outcome: Outcome, answer: str = "") -> bool:
        """Like `mark_reported`, for a result that atlas refuses for good. The job is kept for SET_ASIDE_SECONDS.

        Its last answer is stored with the job, in the same write.
        """

    def count_set_aside(self) -> int:
        """How many jobs are set aside now. It only reads, and is cheap however many jobs are retained.

        It may be some seconds late.
        """

    def resend(self, seen: Observation) -> bool:
        """Take the mark from the job with this identity, so that the tracker publishes its result again.

        The result has the same id and says the same. A job that was set aside is treated as every other; a cancel
        stays, and its confirmation is published again too. False if there is no mark: no job has this identity any
        more, it has not ended, or its result is pending already.
        """

    def reconcile(self, expired: Retention | None = None) -> int:
        """Bring each job to the state that it should have. Only the tracker calls it.

        Restarts jobs that a crash left waiting or incomplete, and ends overdue jobs. With `expired`, also removes jobs
        that ended longer ago than that, and returns their number; returns 0 if the cluster removes jobs by itself. A
        job that waits or runs is never removed.
        """

    def due(self, expired: Retention) -> Iterable[Due]:
        """What `reconcile(expired)` would do now. It only reads, so any process may call it."""

    def election(self) -> LeaderStore | Path | None:
        """Where the trackers of these jobs agree on a leader: a record on the cluster, or a file to lock on this host.

        None if no other process can see these jobs.
        """

    def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
        """The last lines of a container's log: by default the main container's, before its start the init container's.

        `seen` is an observation of the job. With it, the log may be found without asking the cluster where it is.
        Credentials in it are masked. Raises Rejected if there is no such job or container.
        """

    def follow_logs(self, seen: Observation, received: Received, container: str = "") -> None:
        """Pass on what the containers of the job with this identity print, from their first lines on, as it is printed.

        Returns once the job has ended and everything was passed on; a job that waits is waited for. `received` takes
        the container's name and whole lines, in which credentials are masked; of a key over several lines, the mask may
        come before its line feed. The init container comes first; `container` chooses one. A connection that breaks is
        made again. Raises Rejected if there is no such job or container; also Unavailable, Timeout or Busy if the log
        cannot be read for a minute.
        """

    def check(self) -> None:
        """Check that jobs can be created now. Raises Unavailable, or Rejected with the name of what is missing."""
