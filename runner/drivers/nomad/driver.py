"""The Nomad driver: a Variable that is the lock, and a batch job that can't start without it.

    submit    write the Variable (only if there is none) ──▶ register the job (only if there is none)
    cancel    take the secrets out of the Variable, or write one without ──▶ stop the job, if there is one
    reported  take the secrets out; the Variable is the memory of the name until the retention is over

Each is one check-and-set, after which the outcome cannot change; what follows it is finished by the repeat, or by
`reconcile`. So a crash between two steps leaves either a Variable without a job (the repeat registers it; without a
repeat it is reported as deleted, which frees the name) or a closed Variable beside a live job (which cannot start, and
is stopped by `reconcile`). Nomad never removes Variables, so the report of an end that Nomad has forgotten is still
pending, and known.

An ambiguous answer (a reset, a timeout, a 5xx, no leader) is settled by doing the step again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from runner.config.types import Config
from runner.drivers.driver import Retention, each_of
from runner.drivers.http.client import Unsettled
from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.listing import LIST_SECONDS, Cache, NamespaceReader, log
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.observation import JobStub
from runner.drivers.nomad.reconciler import NamespaceReconciler, restored
from runner.drivers.nomad.record import Record
from runner.drivers.nomad.specification import namespace, specification
from runner.errors import Conflict, Rejected, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

FRESH_SECONDS = 1.0
"""The age of a Variable until which its job may still be on its way, registered by whoever wrote it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds until a step is done again: doubled each time, with jitter (see Backoff)."""

_Found = TypeVar("_Found")


class NomadDriver:
    """Jobs on one cluster, in as many namespaces as the pools name."""

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
        names = dict.fromkeys(namespace(config, pool) for pool in pools or [config.default_pool])
        self._namespaces = [Namespace(self._agent, name) for name in names]
        self._cache = Cache()

    def __repr__(self) -> str:
        return f"NomadDriver({self._agent!r}, {self._namespaces!r})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        where = Namespace(self._agent, namespace(self._config, job.pool))
        nonce = self._random.randbytes(8).hex()
        attempt = _Attempt(self._config, self._resolve_secrets, where, job, deadline, nonce)
        return self._settled(attempt.step, deadline, f"making {job.name}")

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        states = [self._cancel_in(where, cancellation, deadline, False) for where in self._namespaces]
        if not any(states) and tombstone:
            states = [self._cancel_in(where, cancellation, deadline, True) for where in self._namespaces]
        return "cancelled" if "cancelled" in states else next(filter(None, states), None)

    def list(self) -> Iterator[Observation]:
        """See Driver.list."""
        seen: set[str] = set()
        for each in each_of(self._namespaces, self._listed):
            if each.name not in seen:  # one cancellation leaves a tombstone in every namespace
                seen.add(each.name)
                yield each

    def _listed(self, where: Namespace) -> Iterator[Observation]:
        return NamespaceReader(self.name, where, self._cache, self._clock).observations()

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile."""
        return sum(each_of(self._namespaces, lambda where: [self._reconciled(where, expired)]))

    def _reconciled(self, where: Namespace, expired: Retention | None) -> int:
        return NamespaceReconciler(where, self._cache, self._clock).run(expired)

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for where in self._namespaces:

            def step(where: Namespace = where) -> bool | None:
                return _mark(where, name, outcome, deadline) or None

            self._settled(step, deadline, f"marking {name} as reported")

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for where in self._namespaces:
            if job := where.job(name, deadline):
                return log(where, job, container, lines, deadline)
        raise Rejected(f"there is no job {name}")

    def check(self) -> None:
        """See Driver.check."""
        for where in self._namespaces:
            where.check(Deadline.after(5, self._clock))

    def _cancel_in(
        self, where: Namespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
    ) -> State | None:
        def step() -> tuple[State | None] | None:
            return _cancel(where, cancellation, deadline, tombstone)

        (state,) = self._settled(step, deadline, f"cancelling {cancellation.name}")
        return state

    def _settled(self, step: Callable[[], _Found | None], deadline: Deadline, doing: str) -> _Found:
        """What the step gives. Repeated while it gives None (somebody was faster) or its answer leaves it open."""
        doubt: Unsettled | None = None
        for _ in attempts(deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)):
            try:
                if (found := step()) is not None:
                    return found
            except Unsettled as error:
                doubt = error
        if doubt is None:
            raise Unavailable(f"others kept being faster while {doing}; repeat the request")
        raise Unavailable(f"{doubt.detail}; repeat the request", retry_after=doubt.retry_after) from doubt


class _Attempt:
    """One submit. `step` may be repeated until it gives a state; a nonce tells our own writes from another's."""

    def __init__(
        self,
        config: Config,
        resolve_secrets: ResolveSecrets,
        where: Namespace,
        job: JobSpec,
        deadline: Deadline,
        nonce: str,
    ) -> None:
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._where = where
        self._job = job
        self._deadline = deadline
        self._nonce = nonce
        self._items: dict[str, str] = {}
        self._hopeful = True

    def step(self) -> State | None:
        """The state, or None where it has to be looked at again.

        Most jobs are new, so the first step takes the name without a look: two requests for a job instead of three.
        """
        name = self._job.name
        if self._hopeful:
            self._hopeful = False
            if (state := self._make(0)) is not None:
                return state
        record = self._where.record(name, self._deadline)
        if record is None:
            return self._make(0)
        if record.cancelled:
            return "cancelled"
        if (known := self._where.job(name, self._deadline)) is not None:
            return self._found(known, record)
        if record.nonce == self._nonce:  # our write was applied after all
            return self._register()
        if record.fingerprint != self._job.fingerprint and record.reported != "deleted":
            raise _conflict(name)
        if record.reported and record.reported != "deleted":
            return "exists"  # Nomad has forgotten it, we have not
        if not record.reported and record.age < FRESH_SECONDS:
            return None  # somebody else is just registering it
        return self._make(record.index)

    def _make(self, index: int) -> State | None:
        """The step after which the name is ours, and the one after which the job is there."""
        items = self._opened()
        if not self._where.write(self._job.name, items, index, self._deadline):
            return None
        return self._register()

    def _register(self) -> State | None:
        name = self._job.name
        if self._where.register(specification(self._job, self._config, self._nonce), self._deadline):
            return "created"
        known, record = self._where.job(name, self._deadline), self._where.record(name, self._deadline)
        if known is None:
            return None
        if record and record.nonce == self._nonce and known.fingerprint != self._job.fingerprint:
            self._where.drop(name, record.index, self._deadline)  # a job without a Variable, and none of ours
        return self._found(known)

    def _found(self, known: JobStub, record: Record | None = None) -> State:
        """A job is there: made by this very attempt, or by another of the same request, or by another request."""
        if (known.fingerprint or (record and record.fingerprint)) != self._job.fingerprint:
            raise _conflict(self._job.name)
        return "created" if known.nonce == self._nonce else "exists"

    def _opened(self) -> dict[str, str]:
        if not self._items:
            items = nomad_record.opened(self._job, self._resolve_secrets(self._job), self._nonce)
            nomad_record.refuse_oversized(self._job.name, items)
            self._items = items
        return self._items


def _conflict(name: str) -> Conflict:
    return Conflict(f"{name} exists already and was made from a different request; a new run needs a new run_id")


def _cancel(
    where: Namespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
) -> tuple[State | None] | None:
    """One try at a cancellation: what became of it, or None where somebody was faster."""
    name = cancellation.name
    record = where.record(name, deadline)
    job = where.job(name, deadline)
    if record is None and job is not None:
        restored(where, job, deadline)
        return None
    index = record.index if record else 0
    if job is None and record and record.reported == "deleted":
        record = None  # the name is free again, and a late submit would take it
    if job is None and not tombstone and (record is None or record.open or not record.fingerprint):
        return (None,)
    if record is not None and record.cancelled:
        _stop(where, job, deadline)
        return ("cancelled",)
    if (record and (record.reported or record.ended)) or (job and job.ended):
        return ("exists",)
    items = nomad_record.closed(nomad_record.cancelled(record, cancellation))
    if not where.write(name, items, index, deadline):
        return None
    _stop(where, job or where.job(name, deadline), deadline)
    return ("cancelled",)


def _mark(where: Namespace, name: str, outcome: Outcome, deadline: Deadline) -> bool:
    """One try at a mark; False where somebody was faster."""
    record = where.record(name, deadline) or _restored(where, name, deadline)
    if record is None or record.reported or not (record.fingerprint or record.cancelled):
        return True
    items = nomad_record.closed(nomad_record.reported(record, outcome))
    return where.write(name, items, record.index, deadline)


def _restored(where: Namespace, name: str, deadline: Deadline) -> Record | None:
    """The record of a job whose Variable somebody has removed, if there is such a job."""
    job = where.job(name, deadline)
    return restored(where, job, deadline) if job else None


def _stop(where: Namespace, job: JobStub | None, deadline: Deadline) -> None:
    if job is not None and not job.stop:
        where.stop(job.id, deadline)
