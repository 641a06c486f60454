"""The Nomad driver: a Variable is the lock of a job, and the batch job cannot start without it.

    submit    write the Variable (only if there is none) ──▶ register the job (only if there is none)
    cancel    remove the secrets from the Variable, or write one without secrets ──▶ stop the job, if there is one
    end       remove the secrets and store the outcome ──▶ stop the job
    reported  remove the secrets; the Variable keeps the name until the retention is over
    resend    take `reported` away

Each operation starts with one check-and-set, which decides its outcome. The nonce of the submit identifies a job: what
was observed of one is never recorded for another of that name. A repeat of the operation, or `reconcile`,
completes the rest. So a crash between two steps leaves one of two states:

- a Variable without a job: a repeated submit registers the job. Without a repeat, the outcome `deleted` is stored and
  reported, and the name stays taken: a later repeat is answered `exists`. (A job that was seen and then removed is
  reported as deleted too; after that its name is free.)
- a closed Variable and a live job: the job cannot start, and `reconcile` stops it.

Nomad never removes Variables. So the end of a job that Nomad has garbage-collected can still be reported.

If the result of a request is unknown (a reset, a timeout, a 5xx, no leader), the driver repeats the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TypeVar

import msgspec

from runner.config.types import Config
from runner.drivers import claiming
from runner.drivers.claiming import OtherPlaces, Place
from runner.drivers.claims import ASSUMED, NEW, YIELDED
from runner.drivers.driver import Driver, Due, Retention, Source, each_of
from runner.drivers.http.client import Unsettled
from runner.drivers.logs.following import Received, follow
from runner.drivers.logs.nomad import NomadLogSource, last_log
from runner.drivers.nomad import closing
from runner.drivers.nomad.allocations.waiting import refusal, shortage
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.leader_variable import VariableLeaderStore
from runner.drivers.nomad.listing import LIST_SECONDS, READ_SECONDS, Cache, NamespaceReader
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.reconciler import NamespaceReconciler
from runner.drivers.nomad.source import JobSource, PendingJobs
from runner.drivers.nomad.specification import namespace_of
from runner.drivers.nomad.submission import ABANDONED_SECONDS, Submission, VariablePlace
from runner.drivers.nomad.variable import closed_items, with_outcome
from runner.drivers.nomad.variable_source import VariableSource
from runner.drivers.several import AtOnce, Submit
from runner.errors import Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.outcomes import contradicts
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before a step is repeated: doubled each time, with jitter (see Backoff)."""

_Found = TypeVar("_Found")


class NomadDriver:
    """Jobs on one cluster, in every namespace that a pool names."""

    name = "nomad"

    def __init__(
        self, config: Config, *, resolve_secrets: ResolveSecrets, agent: NomadClient, clock: Clock, random: Random
    ) -> None:
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._agent = agent
        self._clock = clock
        self._random = random
        pools = [pool for pool in config.pool_names() if config.driver_of(pool) == self.name]
        names = dict.fromkeys(namespace_of(config, pool) for pool in pools or [config.default_pool])
        self._namespaces = [Namespace(self._agent, name) for name in names]
        self._engines: Sequence[Driver] = ()
        self._cache = Cache(submit_seconds=max(ABANDONED_SECONDS, config.limits.queue_seconds))

    def __repr__(self) -> str:
        return f"NomadDriver({self._agent!r}, {self._namespaces!r})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        return self._submit(job, deadline, read_first=False)

    def submitter(self, jobs: Sequence[JobSpec], deadline: Deadline, _at_once: AtOnce) -> Submit:
        """See Driver.submitter. One submit reads all that it needs of its job."""
        name, namespace = jobs[0].name, Namespace(self._agent, namespace_of(self._config, jobs[0].pool))
        (known,) = self._repeated(lambda: (namespace.variable(name, deadline),), deadline, f"reading {name}")
        return partial(self._submit, read_first=known is not None)

    def _submit(self, job: JobSpec, deadline: Deadline, *, read_first: bool) -> State:
        namespace = Namespace(self._agent, namespace_of(self._config, job.pool))
        nonce = self._random.randbytes(8).hex()
        attempt = Submission(
            self._config, self._resolve_secrets, namespace, job, deadline, nonce, read_first=read_first
        )
        if len(self._namespaces) == 1 and not self._engines:
            return self._repeated(attempt.step, deadline, f"creating {job.name}")
        others = OtherPlaces.of(self.places(), self._engines)
        return self._repeated(lambda: attempt.claim_step(others), deadline, f"creating {job.name}")

    def complete(self, job: JobSpec, deadline: Deadline) -> State | None:
        """See Driver.complete."""
        namespace, nonce = Namespace(self._agent, namespace_of(self._config, job.pool)), self._random.randbytes(8).hex()
        attempt = Submission(self._config, self._resolve_secrets, namespace, job, deadline, nonce)
        return self._repeated(attempt.complete, deadline, f"creating {job.name}")

    def places(self) -> Sequence[Place]:
        """See Driver.places."""
        return [VariablePlace(each) for each in self._namespaces]

    def join(self, engines: Sequence[Driver]) -> None:
        """See Driver.join."""
        self._engines = engines

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        states = [self._cancel_in(namespace, cancellation, deadline, False) for namespace in self._namespaces]
        if not any(states) and tombstone:
            states = [self._cancel_in(namespace, cancellation, deadline, True) for namespace in self._namespaces]
        return "cancelled" if "cancelled" in states else next(filter(None, states), None)

    def list(self) -> Iterator[Observation]:
        """See Driver.list."""
        seen: set[str] = set()
        for each in each_of(self._namespaces, self._listed):
            if each.name not in seen:  # one cancellation leaves a tombstone in every namespace
                seen.add(each.name)
                yield each

    def _listed(self, namespace: Namespace) -> Iterator[Observation]:
        return self._reader(namespace, LIST_SECONDS).observations()

    def _reader(self, namespace: Namespace, seconds: float) -> NamespaceReader:
        return NamespaceReader(self.name, namespace, self._cache, Deadline.after(seconds, self._clock))

    def sources(self) -> Sequence[Source]:
        """See Driver.sources. Two for each namespace: events do not show Variables, so tombstones have their own."""
        found: list[Source] = []
        for number, namespace in enumerate(self._namespaces):
            pending = PendingJobs(namespace, self._cache, self._clock, earlier=self._namespaces[:number])
            interval = self._config.tracker.interval_seconds
            found += [JobSource(namespace, pending, interval), VariableSource(namespace, pending)]
        return found

    def find(self, seen: Observation) -> Observation | None:
        """See Driver.find."""
        return self._reader(self._namespace_of(seen), READ_SECONDS).one(seen.name).seen

    def explain(self, seen: Observation) -> Observation:
        """See Driver.explain. The scheduler's evaluations say why no node takes the job."""
        deadline = Deadline.after(READ_SECONDS, self._clock)
        unplaced = seen.phase == "waiting" and not seen.scheduled
        reason = shortage(self._namespace_of(seen).evaluations(seen.name, deadline)) if unplaced else ""
        return msgspec.structs.replace(seen, **refusal(reason)) if reason else seen

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile."""
        return sum(each_of(self._namespaces, lambda namespace: [self._reconciler(namespace).run(expired)]))

    def due(self, expired: Retention) -> Iterator[Due]:
        """See Driver.due."""
        return each_of(self._namespaces, lambda namespace: self._reconciler(namespace).due(expired))

    def _reconciler(self, namespace: Namespace) -> NamespaceReconciler:
        others = OtherPlaces.of(self.places(), self._engines)
        return NamespaceReconciler(namespace, self._cache, self._clock, others, settles=bool(self._engines))

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.end. Each try reads the job: since the last one it may have ended, or its submit have gone on."""
        deadline = Deadline.after(READ_SECONDS, self._clock)
        (done,) = self._repeated(lambda: self._end(seen, outcome, deadline), deadline, f"ending {seen.name}")
        return done

    def _end(self, seen: Observation, outcome: Outcome, deadline: Deadline) -> tuple[bool] | None:
        namespace = self._namespace_of(seen)
        reading = NamespaceReader(self.name, namespace, self._cache, deadline).one(seen.name)
        if (found := reading.seen) is None or contradicts(found, seen, outcome):
            return (False,)
        if found.unsettled and self._yields_before_end(namespace, seen, deadline):
            return (False,)
        return closing.end(namespace, seen, outcome, deadline, reading.variable_index)

    def _yields_before_end(self, namespace: Namespace, seen: Observation, deadline: Deadline) -> bool:
        """Settle a claim that is assumed, or has no job, before it is ended. Returns whether it has yielded.

        Raises Unavailable if that cannot be known yet of a claim without a job: a repeat of its request may have made
        the job where nobody answers now.
        """
        place, others = VariablePlace(namespace), OtherPlaces.of(self.places(), self._engines)
        mine = place.standing(seen.name, deadline)
        if mine is None or mine.identity != seen.identity or mine.over or not mine.claim:
            return False
        jobless = mine.claim == NEW or mine.abandoned or mine.unfinished
        if not jobless and mine.claim != ASSUMED:
            return False
        claim = claiming.settle_before_end(mine, place, others, deadline)
        if jobless and claim == ASSUMED:
            raise Unavailable(f"{seen.name} has no job, and another place that may have it does not answer")
        return claim == YIELDED

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.mark_reported."""
        return self._mark(seen, outcome)

    def set_aside(self, seen: Observation, outcome: Outcome, answer: str = "") -> bool:
        """See Driver.set_aside."""
        return self._mark(seen, outcome, answer)

    def count_set_aside(self) -> int:
        """See Driver.count_set_aside."""
        return sum(each_of(self._namespaces, lambda each: [self._reader(each, LIST_SECONDS).set_aside()]))

    def _mark(self, seen: Observation, outcome: Outcome, refusal: str | None = None) -> bool:
        namespace, deadline = self._namespace_of(seen), Deadline.after(READ_SECONDS, self._clock)
        if seen.cancelled and seen.report is None:
            # The others first: only the first namespace's tombstone is reported, so it must be the last to be marked.
            for other in self._namespaces:
                if other is not namespace:
                    self._mark_tombstone(other, seen, outcome, deadline)

        def step() -> tuple[bool] | None:
            return closing.mark(namespace, seen, outcome, deadline, refusal)

        (done,) = self._repeated(step, deadline, f"marking {seen.name} as reported")
        return done

    def _mark_tombstone(self, namespace: Namespace, seen: Observation, outcome: Outcome, deadline: Deadline) -> None:
        variable = namespace.variable(seen.name, deadline)
        if variable is not None and closing.same_tombstone(variable, seen) and not variable.reported:
            items = closed_items(with_outcome(variable, outcome))
            namespace.write(seen.name, items, variable.index, deadline)

    def resend(self, seen: Observation) -> bool:
        """See Driver.resend."""
        namespace, deadline = self._namespace_of(seen), Deadline.after(READ_SECONDS, self._clock)

        def step() -> tuple[bool] | None:
            return closing.resend(namespace, seen, self.find(seen), deadline)

        (done,) = self._repeated(step, deadline, f"taking the mark from {seen.name}")
        return done

    def election(self) -> VariableLeaderStore:
        """See Driver.election."""
        return VariableLeaderStore(self._namespaces[0])

    def _namespace_of(self, seen: Observation) -> Namespace:
        """The namespace of an observed job, also one that no pool names any more."""
        known = (namespace for namespace in self._namespaces if namespace.name == seen.place)
        return next(known, None) or Namespace(self._agent, seen.place or self._namespaces[0].name)

    def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
        """See Driver.logs."""
        return last_log(self._namespaces, name, container, lines, Deadline.after(LIST_SECONDS, self._clock))

    def follow_logs(self, seen: Observation, received: Received, container: str = "") -> None:
        """See Driver.follow_logs."""
        source = NomadLogSource(self._namespace_of(seen), seen, container, self.find, self._clock)
        follow(source, received, self._clock)

    def check(self) -> None:
        """See Driver.check."""
        for namespace in self._namespaces:
            namespace.check(Deadline.after(5, self._clock))

    def _cancel_in(
        self, namespace: Namespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
    ) -> State | None:
        nonce = self._random.randbytes(8).hex()

        def step() -> tuple[State | None] | None:
            return closing.cancel(namespace, cancellation, deadline, tombstone=tombstone, nonce=nonce)

        (state,) = self._repeated(step, deadline, f"cancelling {cancellation.name}")
        return state

    def _repeated(self, step: Callable[[], _Found | None], deadline: Deadline, action: str) -> _Found:
        """Repeat the step while it returns None (another write came first) or raises Unsettled. Returns its result."""
        unsettled: Unsettled | None = None
        for _ in attempts(deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)):
            try:
                if (found := step()) is not None:
                    return found
            except Unsettled as error:
                unsettled = error
        if unsettled is None:
            raise Unavailable(f"other writes kept coming first while {action}; repeat the request")
        raise Unavailable(f"{unsettled.detail}; repeat the request", retry_after=unsettled.retry_after) from unsettled
