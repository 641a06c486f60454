"""The memory driver: the reference implementation of the protocol, and the double that tests use.

It runs no program: a test simulates the cluster by `start`, `finish` and `lose`. Each worker process would have its
own jobs, so the configuration allows only one worker.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Sequence

from runner.drivers.claiming import MadeAtOnce, OtherPlaces, Place, held_elsewhere
from runner.drivers.claims import NEW, Standing, answer, standing_of
from runner.drivers.driver import Driver, Due, Retention, Source
from runner.drivers.list_source import ListSource
from runner.drivers.logs.following import Received, chosen, follow
from runner.drivers.logs.memory import MemoryLogSource, names
from runner.drivers.memory_job import MemoryJob
from runner.drivers.memory_place import MemoryPlace
from runner.errors import Conflict, Rejected
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome, Phase
from runner.outcomes import classify
from runner.runtime.clock import Clock, Deadline
from runner.security.masking import last_lines

LIST_SECONDS = 1.0
"""Seconds between two lists of the tracker."""


class MemoryDriver(MadeAtOnce):
    """Jobs in a dictionary that a lock protects."""

    name = "memory"

    def __init__(self, *, resolve_secrets: ResolveSecrets, clock: Clock, capacity: int = 1_000_000) -> None:
        self._resolve_secrets = resolve_secrets
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._jobs: dict[str, MemoryJob] = {}
        self._being_made: Counter[str] = Counter()
        self._engines: Sequence[Driver] = ()
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._jobs)} jobs)"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        deadline.check(f"creating {job.name}")
        if not self._engines or job.name in self._jobs:
            return self._submit(job)
        self._being_made[job.name] += 1
        try:
            found = held_elsewhere(
                MemoryPlace(self.name, self.standing), job.name, OtherPlaces.of([], self._engines), deadline
            )
            return answer(found, job) if found else self._submit(job)
        finally:
            self._being_made[job.name] -= 1

    def _submit(self, job: JobSpec) -> State:
        with self._lock:
            known = self._jobs.get(job.name)
            if known is None:
                self._drop_oldest()
                # Secrets are resolved before the job is stored. If that fails, a repeat must not find the job.
                self._jobs[job.name] = MemoryJob(self._new_observation(job), job, self._resolve_secrets(job))
        return _repeat(known.observation, job) if known else "created"

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        deadline.check(f"cancelling {cancellation.name}")
        with self._lock:
            entry = self._jobs.get(cancellation.name)
            if entry is None or entry.job is None:
                if not tombstone:
                    return None
                entry = entry or MemoryJob(self._tombstone(cancellation))
            elif not entry.observation.cancelled:
                entry = entry.replace(cancelled=True, cancellation=cancellation.report, **self._stopped(entry))
            self._jobs[cancellation.name] = entry
        return "exists" if entry.observation.ended_as else "cancelled"

    def _stopped(self, entry: MemoryJob) -> dict[str, object]:
        """What a cancel changes beside the cancellation: it ends the job, or stores how the job had ended before."""
        seen = entry.observation
        if seen.ended is None:
            return self._ended("failed")
        return {"ended_as": classify(seen), "reported": False}

    def places(self) -> Sequence[Place]:
        """See Driver.places."""
        return [MemoryPlace(self.name, self.standing)]

    def join(self, engines: Sequence[Driver]) -> None:
        """See Driver.join."""
        self._engines = engines

    def standing(self, name: str) -> Standing | None:
        """The name here. While a job is being made, a claim that is less than all others."""
        if (entry := self._jobs.get(name)) is not None:
            return standing_of(entry.observation)
        if self._being_made[name]:
            return Standing(name=name, driver=self.name, place="", identity="", claim=NEW)
        return None

    def list(self) -> Sequence[Observation]:
        """See Driver.list."""
        with self._lock:
            return [entry.observation for entry in self._jobs.values()]

    def sources(self) -> Sequence[Source]:
        """See Driver.sources."""
        return [ListSource(self, LIST_SECONDS)]

    def find(self, seen: Observation) -> Observation | None:
        """See Driver.find."""
        return entry.observation if (entry := self._jobs.get(seen.name)) else None

    def explain(self, seen: Observation) -> Observation:
        """See Driver.explain. There are no events."""
        return seen

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.end."""
        with self._lock:
            if (entry := self._same(seen)) and entry.observation.ended is None:
                entry = self._jobs[seen.name] = entry.replace(ended_as=outcome, **self._ended("failed"))
            kept = entry.observation.ended_as if entry and not entry.observation.cancelled else None
            return kept is not None and kept.reason == outcome.reason

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.mark_reported."""
        return self._mark(seen, published=outcome.reason)

    def set_aside(self, seen: Observation, outcome: Outcome, answer: str = "") -> bool:
        """See Driver.set_aside."""
        return self._mark(seen, published="", answer=answer)

    def count_set_aside(self) -> int:
        """See Driver.count_set_aside."""
        return sum(seen.set_aside for seen in self.list())

    def _mark(self, seen: Observation, *, published: str, answer: str = "") -> bool:
        with self._lock:
            entry = self._same(seen)
            if entry is None:
                return False
            now = entry.observation
            if now.resent != seen.resent:
                return False
            cancelled_since = now.cancelled and not seen.cancelled
            if cancelled_since and now.ended_as is None:
                return False
            confirms = seen.cancelled and now.ended_as is not None
            aside = not cancelled_since and not published
            marks = {"reported": not cancelled_since, "set_aside": aside, "answer": answer if aside else ""}
            self._jobs[seen.name] = entry.replace(published=now.published if confirms else published, **marks)
        return not cancelled_since

    def resend(self, seen: Observation) -> bool:
        """See Driver.resend."""
        with self._lock:
            entry = self._same(seen)
            if entry is None or not entry.observation.reported:
                return False
            times = entry.observation.resent + 1
            self._jobs[seen.name] = entry.replace(
                reported=False, set_aside=False, answer="", published="", resent=times
            )
        return True

    def _same(self, seen: Observation) -> MemoryJob | None:
        """The job with this identity. The lock is held."""
        entry = self._jobs.get(seen.name)
        return entry if entry and entry.observation.identity == seen.identity else None

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. No job needs a restart; `submit` drops the oldest jobs when the capacity is reached."""
        return 0

    def due(self, _expired: Retention) -> Sequence[Due]:
        """See Driver.due."""
        return ()

    def election(self) -> None:
        """See Driver.election. No other process can see these jobs."""

    def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
        """See Driver.logs."""
        entry = self._entry(name)
        chosen(name, names(entry.job), container)
        return last_lines(entry.observation.log_tail, lines)

    def follow_logs(self, seen: Observation, received: Received, container: str = "") -> None:
        """See Driver.follow_logs."""
        follow(MemoryLogSource(self.find, seen, self._entry(seen.name).job, container), received, self._clock)

    def check(self) -> None:
        """See Driver.check. It never fails."""

    def job(self, name: str) -> JobSpec:
        """The specification of the job. Raises Rejected if there is no such job, or only a tombstone."""
        entry = self._entry(name)
        if entry.job is None:
            raise Rejected(f"{name} was cancelled before it was submitted")
        return entry.job

    def secrets(self, name: str) -> dict[str, str]:
        """The secrets that the job of that name would receive."""
        return dict(self._entry(name).secrets)

    def start(self, name: str) -> None:
        """Simulate that a node has started the job."""
        self._update(name, phase="running")

    def finish(self, name: str, *, main_exit: int = 0, log_tail: str = "") -> None:
        """Simulate that the main container has exited, with this exit code and output."""
        phase: Phase = "failed" if main_exit else "succeeded"
        containers = self.job(name).containers
        container = containers[-1].name if main_exit and containers else ""
        self._update(name, main_exit=main_exit, log_tail=log_tail, container=container, **self._ended(phase))

    def lose(self, name: str) -> None:
        """Simulate that an operator has deleted the job."""
        with self._lock:
            self._jobs.pop(name, None)

    def _entry(self, name: str) -> MemoryJob:
        with self._lock:
            if name not in self._jobs:
                raise Rejected(f"there is no job {name}")
            return self._jobs[name]

    def _update(self, name: str, **changes: object) -> None:
        entry = self._entry(name)
        with self._lock:
            if entry.observation.ended is None:
                self._jobs[name] = entry.replace(**changes)

    def _ended(self, phase: Phase) -> dict[str, object]:
        return {"phase": phase, "ended": self._clock.wall()}

    def _new_observation(self, job: JobSpec) -> Observation:
        return Observation(
            name=job.name,
            driver=self.name,
            pool=job.pool,
            phase="waiting",
            created=self._clock.wall(),
            identity=self._new_identity(),
            report=job.report,
            fingerprint=job.fingerprint,
        )

    def _tombstone(self, cancellation: Cancellation) -> Observation:
        now = self._clock.wall()
        return Observation(
            name=cancellation.name,
            driver=self.name,
            pool="",
            phase="failed",
            created=now,
            identity=self._new_identity(),
            ended=now,
            cancelled=True,
            cancellation=cancellation.report,
        )

    def _new_identity(self) -> str:
        """A number, after the time: the next process begins at 1 again."""
        return f"{self._clock.wall():.6f}-{next(self._numbers)}"

    def _drop_oldest(self) -> None:
        """Delete the oldest tenth of the jobs at capacity. It bounds the memory in a long benchmark."""
        if len(self._jobs) >= self._capacity:
            for name in list(self._jobs)[: max(1, self._capacity // 10)]:
                del self._jobs[name]


def _repeat(observation: Observation, job: JobSpec) -> State:
    """The state that a repeated submit returns. Raises Conflict if the request differs."""
    if observation.cancelled and observation.ended_as is None:
        return "cancelled"
    if not job.same_task(observation.fingerprint):
        raise Conflict(f"{job.name} exists already and was made from a different request; a new run needs a new run_id")
    return "exists"
