"""The Nomad driver: a Variable is the lock of a job, and the batch job cannot start without it.

    submit    write the Variable (only if there is none) ──▶ register the job (only if there is none)
    cancel    remove the secrets from the Variable, or write one without secrets ──▶ stop the job, if there is one
    reported  remove the secrets; the Variable keeps the name until the retention is over

Each operation starts with one check-and-set, which decides its outcome. A repeat of the operation, or `reconcile`,
completes the rest. So a crash between two steps leaves one of two states:

- a Variable without a job: a repeated submit registers the job; without a repeat the job is reported as deleted, after
  which the name is free;
- a closed Variable and a live job: the job cannot start, and `reconcile` stops it.

Nomad never removes Variables. So the end of a job that Nomad has garbage-collected can still be reported.

If the result of a request is unknown (a reset, a timeout, a 5xx, no leader), the driver repeats the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from runner.config.types import Config
from runner.drivers.driver import Retention, each_of
from runner.drivers.http.client import Unsettled
from runner.drivers.nomad.api import NomadClient
from runner.drivers.nomad.listing import LIST_SECONDS, Cache, NamespaceReader, container_log
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import JobStub
from runner.drivers.nomad.reconciler import NamespaceReconciler, restored
from runner.drivers.nomad.specification import namespace_of, specification
from runner.drivers.nomad.variable import (
    JobVariable,
    check_size,
    closed_items,
    open_items,
    with_cancellation,
    with_outcome,
)
from runner.errors import Conflict, Rejected, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

FRESH_SECONDS = 1.0
"""The age of a Variable, in seconds, until which the submit that wrote it may still be registering the job."""

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
        self._cache = Cache()

    def __repr__(self) -> str:
        return f"NomadDriver({self._agent!r}, {self._namespaces!r})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        namespace = Namespace(self._agent, namespace_of(self._config, job.pool))
        nonce = self._random.randbytes(8).hex()
        attempt = _Attempt(self._config, self._resolve_secrets, namespace, job, deadline, nonce)
        return self._settled(attempt.step, deadline, f"creating {job.name}")

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
        return NamespaceReader(self.name, namespace, self._cache, self._clock).observations()

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile."""
        return sum(each_of(self._namespaces, lambda namespace: [self._reconciled(namespace, expired)]))

    def _reconciled(self, namespace: Namespace, expired: Retention | None) -> int:
        return NamespaceReconciler(namespace, self._cache, self._clock).run(expired)

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for namespace in self._namespaces:

            def step(namespace: Namespace = namespace) -> bool | None:
                return _mark_reported(namespace, name, outcome, deadline) or None

            self._settled(step, deadline, f"marking {name} as reported")

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for namespace in self._namespaces:
            if job := namespace.job(name, deadline):
                return container_log(namespace, job, container, lines, deadline)
        raise Rejected(f"there is no job {name}")

    def check(self) -> None:
        """See Driver.check."""
        for namespace in self._namespaces:
            namespace.check(Deadline.after(5, self._clock))

    def _cancel_in(
        self, namespace: Namespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
    ) -> State | None:
        def step() -> tuple[State | None] | None:
            return _cancel(namespace, cancellation, deadline, tombstone)

        (state,) = self._settled(step, deadline, f"cancelling {cancellation.name}")
        return state

    def _settled(self, step: Callable[[], _Found | None], deadline: Deadline, action: str) -> _Found:
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


class _Attempt:
    """One submit. `step` is repeated until it returns a state. The nonce identifies the writes of this submit."""

    def __init__(
        self,
        config: Config,
        resolve_secrets: ResolveSecrets,
        namespace: Namespace,
        job: JobSpec,
        deadline: Deadline,
        nonce: str,
    ) -> None:
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._namespace = namespace
        self._job = job
        self._deadline = deadline
        self._nonce = nonce
        self._items: dict[str, str] = {}
        self._first_step = True

    def step(self) -> State | None:
        """The state, or None if the step must be repeated.

        Most jobs are new, so the first step writes the Variable without reading it: two requests instead of three.
        """
        name = self._job.name
        if self._first_step:
            self._first_step = False
            if (state := self._write_and_register(0)) is not None:
                return state
        variable = self._namespace.variable(name, self._deadline)
        if variable is None:
            return self._write_and_register(0)
        if variable.cancelled:
            return "cancelled"
        if (known := self._namespace.job(name, self._deadline)) is not None:
            return self._existing(known, variable)
        if variable.nonce == self._nonce:  # an earlier write of this submit was applied
            return self._register()
        if variable.fingerprint != self._job.fingerprint and variable.reported != "deleted":
            raise _conflict(name)
        if variable.reported and variable.reported != "deleted":
            return "exists"  # Nomad has removed the job; the Variable keeps the name
        if not variable.reported and variable.age < FRESH_SECONDS:
            return None  # another submit may be registering it now
        return self._write_and_register(variable.index)

    def _write_and_register(self, index: int) -> State | None:
        """Write the Variable, which takes the name, then register the job. None if another write came first."""
        items = self._opened()
        if not self._namespace.write(self._job.name, items, index, self._deadline):
            return None
        return self._register()

    def _register(self) -> State | None:
        name = self._job.name
        if self._namespace.register(specification(self._job, self._config, self._nonce), self._deadline):
            return "created"
        known, variable = self._namespace.job(name, self._deadline), self._namespace.variable(name, self._deadline)
        if known is None:
            return None
        if variable and variable.nonce == self._nonce and known.fingerprint != self._job.fingerprint:
            # The job is of another request, and its Variable was missing.
            self._namespace.delete(name, variable.index, self._deadline)
        return self._existing(known)

    def _existing(self, known: JobStub, variable: JobVariable | None = None) -> State:
        """The state of an existing job: `created` by this submit, or `exists`. Raises Conflict for another request."""
        if (known.fingerprint or (variable and variable.fingerprint)) != self._job.fingerprint:
            raise _conflict(self._job.name)
        return "created" if known.nonce == self._nonce else "exists"

    def _opened(self) -> dict[str, str]:
        if not self._items:
            items = open_items(self._job, self._resolve_secrets(self._job), self._nonce)
            check_size(self._job.name, items)
            self._items = items
        return self._items


def _conflict(name: str) -> Conflict:
    return Conflict(f"{name} exists already and was made from a different request; a new run needs a new run_id")


def _cancel(
    namespace: Namespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
) -> tuple[State | None] | None:
    """One try to cancel: a tuple with the state, or None if another write came first."""
    name = cancellation.name
    variable = namespace.variable(name, deadline)
    job = namespace.job(name, deadline)
    if variable is None and job is not None:
        restored(namespace, job, deadline)
        return None
    index = variable.index if variable else 0
    if job is None and variable and variable.reported == "deleted":
        variable = None  # the name is free, so a late submit could use it
    if job is None and not tombstone and (variable is None or variable.open or not variable.fingerprint):
        return (None,)
    if variable is not None and variable.cancelled:
        _stop(namespace, job, deadline)
        return ("cancelled",)
    if (variable and (variable.reported or variable.ended)) or (job and job.ended):
        return ("exists",)
    items = closed_items(with_cancellation(variable, cancellation))
    if not namespace.write(name, items, index, deadline):
        return None
    _stop(namespace, job or namespace.job(name, deadline), deadline)
    return ("cancelled",)


def _mark_reported(namespace: Namespace, name: str, outcome: Outcome, deadline: Deadline) -> bool:
    """One try to record the report. False if another write came first."""
    variable = namespace.variable(name, deadline) or _restored(namespace, name, deadline)
    if variable is None or variable.reported or not (variable.fingerprint or variable.cancelled):
        return True
    items = closed_items(with_outcome(variable, outcome))
    return namespace.write(name, items, variable.index, deadline)


def _restored(namespace: Namespace, name: str, deadline: Deadline) -> JobVariable | None:
    """The restored Variable of a job whose Variable was deleted; None if there is no such job."""
    job = namespace.job(name, deadline)
    return restored(namespace, job, deadline) if job else None


def _stop(namespace: Namespace, job: JobStub | None, deadline: Deadline) -> None:
    if job is not None and not job.stop:
        namespace.stop(job.id, deadline)
