"""One submit: write the Variable, which takes the name, then register the job.

Where pools lead to several places, the Variable is first written closed, as a claim. It is opened once it is admitted.
"""

from __future__ import annotations

from typing import cast

import msgspec

from runner.config.types import Config
from runner.drivers.claiming import OtherPlaces, Taking, claimed, is_in
from runner.drivers.claims import ADMITTED, ASSUMED, NEW, YIELDED, Claim, Standing, rerouted
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import JobStub
from runner.drivers.nomad.observation import Evidence, observation
from runner.drivers.nomad.specification import namespace_of, specification
from runner.drivers.nomad.variable import (
    CLAIM,
    NONCE,
    JobVariable,
    check_size,
    claim_of,
    closed_items,
    open_items,
    variable_path,
    with_claim_yielded,
)
from runner.errors import Conflict, Unavailable
from runner.jobs import JobSpec, ResolveSecrets, State
from runner.runtime.clock import Deadline

_DRIVER = "nomad"

ABANDONED_SECONDS = 60.0
"""A claim without a job that is older than this is abandoned: its request is no longer alive."""

FRESH_SECONDS = 1.0
"""The age of a Variable, in seconds, until which the submit that wrote it may still be registering the job."""


class VariablePlace:
    """One namespace. See Place. A Variable is read from the leader, so every earlier write is seen."""

    driver = _DRIVER

    def __init__(self, namespace: Namespace) -> None:
        self.name = namespace.name
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"{self.driver} {self.name}"

    def standing(self, name: str, deadline: Deadline) -> Standing | None:
        """See Place.standing."""
        variable = self.namespace.variable(name, deadline)
        found = standing_of(name, variable, self.name) if variable else None
        if not (found and variable and variable.open) or self.namespace.job(name, deadline) is not None:
            return found
        abandoned = variable.age > ABANDONED_SECONDS
        return msgspec.structs.replace(found, abandoned=abandoned, unfinished=not abandoned)

    def move(self, standing: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Place.move. A new claim is admitted by its request, which has the secrets."""
        name, variable = standing.name, self.namespace.variable(standing.name, deadline)
        if variable is None or (variable.nonce, str(variable.index)) != (standing.identity, standing.version):
            return False
        if claim != YIELDED:
            return standing.claim == ASSUMED and self._settle(name, variable, deadline)
        items = closed_items(with_claim_yielded(variable))
        if standing.claim == NEW:
            return self.namespace.write(name, items, variable.index, deadline)
        job = self.namespace.job(name, deadline)
        allocations = self.namespace.allocations(name, deadline) if job else []
        if job and observation(Evidence(job, variable, allocations), _DRIVER).phase == "succeeded":
            return False
        written = self.namespace.write(name, items, variable.index, deadline)
        if written and job and not job.stop:
            self.namespace.stop(name, deadline)
        return written

    def _settle(self, name: str, variable: JobVariable, deadline: Deadline) -> bool:
        """Admit an assumed claim. Everything else in the Variable stays as it is."""
        stored = self.namespace.record(variable_path(name), deadline)
        if stored is None or stored.modify_index != variable.index:
            return False
        return self.namespace.write(name, {**stored.items, CLAIM: ADMITTED}, variable.index, deadline)


def standing_of(name: str, variable: JobVariable, place: str) -> Standing | None:
    """The standing of a Variable's name in its namespace; None if it is free, unless its claim has just yielded."""
    if variable.free and variable.claim != YIELDED:
        return None
    decided = variable.cancelled or variable.ended or variable.reported
    return Standing(
        name=name,
        driver=_DRIVER,
        place=place,
        identity=variable.nonce,
        claim=cast(Claim, variable.claim),
        fingerprint=variable.fingerprint,
        pool=variable.pool,
        cancelled=variable.cancelled is not None and not variable.ended,
        over=bool(decided) and not variable.free,
        published=bool(decided) and not variable.free,
        version=str(variable.index),
    )


class Submission:
    """`step` is repeated until it returns a state. The nonce identifies the writes of this submit. See Taking."""

    def __init__(
        self,
        config: Config,
        resolve_secrets: ResolveSecrets,
        namespace: Namespace,
        job: JobSpec,
        deadline: Deadline,
        nonce: str,
        *,
        read_first: bool = False,
    ) -> None:
        """With `read_first`, the name is expected to be taken, so nothing is written before it was read."""
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._namespace = namespace
        self._job = job
        self._deadline = deadline
        self._nonce = nonce
        self._request = nonce  # stays, if another request's claim is completed
        self._items: dict[str, str] = {}
        self._read_first = read_first
        self._first_step = not read_first
        self._variable_was_missing = False
        self.place = VariablePlace(namespace)

    def claim_step(self, others: OtherPlaces) -> State | None:
        """Like `step`, where pools lead to several places."""
        standing, taking = claimed(self._job, self, others, self._deadline)
        if not isinstance(taking, Submission) or not is_in(standing, taking.place):
            return others.answer(standing, self._job, self._deadline)
        taking._first_step = False
        state = taking.step()
        return "exists" if state == "created" and standing.identity != self._request else state

    def complete(self) -> State | None:
        """Register the job of a Variable that has the name, like `step`. Raises Unavailable if none has it any more."""
        standing = self.place.standing(self._job.name, self._deadline)
        if standing is None or not standing.holds_name:
            raise Unavailable(f"{self._job.name} is being created in another place; repeat the request", retry_after=1)
        self._first_step = False
        return "exists" if (state := self.step()) == "created" else state

    def take(self, deadline: Deadline) -> Standing | None:
        """See Taking.take."""
        name, variable = self._job.name, claim_of(self._job, self._nonce)
        if self._read_first and (found := self.place.standing(name, deadline)) is not None:
            return found
        check_size(name, self._opened())  # else the name would be taken by what can never be admitted
        if self._namespace.write(name, closed_items(variable), 0, deadline):
            return self.place.standing(name, deadline)
        known = self._namespace.variable(name, deadline)
        if known is None:
            return None
        if known.free and self._namespace.job(name, deadline) is None:
            self._namespace.write(name, closed_items(variable), known.index, deadline)
        return self.place.standing(name, deadline)

    def admit(self, mine: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Taking.admit: the Variable is opened by the same write."""
        items = {**self._opened(), NONCE: mine.identity, CLAIM: claim}
        admitted = self._namespace.write(mine.name, items, int(mine.version), deadline)
        if admitted:
            self._nonce = mine.identity
        return admitted

    def in_place_of(self, standing: Standing) -> Taking | None:
        """See Taking.in_place_of."""
        if standing.driver != self.place.driver or not standing.pool:
            return None
        job = rerouted(self._job, standing)
        if namespace_of(self._config, job.pool) != standing.place:
            return None
        namespace = self._namespace.sibling(standing.place)
        return Submission(self._config, self._resolve_secrets, namespace, job, self._deadline, self._nonce)

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
            return self._cancelled(variable)
        if (known := self._namespace.job(name, self._deadline)) is not None:
            return self._existing(known, variable)
        if variable.open and variable.nonce == self._nonce:  # an earlier write of this submit was applied
            return self._register()
        if not variable.free and not self._job.same_task(variable.fingerprint):
            raise _conflict(name)
        if variable.ended or (variable.reported and not variable.free):
            return "exists"  # Nomad has removed the job; the Variable keeps the name
        if not variable.reported and variable.age < FRESH_SECONDS:
            return None  # another submit may be registering it now
        return self._write_and_register(variable.index, variable.claim if variable.open else "")

    def _cancelled(self, variable: JobVariable) -> State:
        """The state of a cancelled name: a cancel that came after the end of the run changes nothing for its submit."""
        if variable.ended and self._job.same_task(variable.fingerprint):
            return "exists"
        return "cancelled"

    def _write_and_register(self, index: int, claim: str = "") -> State | None:
        """Write the Variable, which takes the name, then register the job. None if another write came first.

        `claim`: what has become of the name's claim, if it has one.
        """
        items = {**self._opened(), **({CLAIM: claim} if claim else {})}
        if not self._namespace.write(self._job.name, items, index, self._deadline):
            return None
        self._variable_was_missing = index == 0
        return self._register()

    def _register(self) -> State | None:
        name = self._job.name
        if self._namespace.register(specification(self._job, self._config, self._nonce), self._deadline):
            return "created"
        known, variable = self._namespace.job(name, self._deadline), self._namespace.variable(name, self._deadline)
        if known is None:
            return None
        if variable and variable.nonce == self._nonce != known.nonce:
            self._correct(known, variable)
        return self._existing(known)

    def _correct(self, known: JobStub, variable: JobVariable) -> None:
        """The job is another submit's. Its Variable gets its nonce, or is deleted again if the task is another one.

        Either its Variable was missing, or its submit seemed to be dead, and registered the job at the last moment.
        """
        if self._job.same_task(known.fingerprint):
            items = {**self._opened(), NONCE: known.nonce, **({CLAIM: variable.claim} if variable.claim else {})}
            self._namespace.write(self._job.name, items, variable.index, self._deadline)
        elif self._variable_was_missing:
            self._namespace.delete(self._job.name, variable.index, self._deadline)

    def _existing(self, known: JobStub, variable: JobVariable | None = None) -> State:
        """The state of an existing job: `created` by this submit, or `exists`. Raises Conflict for another request."""
        if not self._job.same_task(known.fingerprint or (variable.fingerprint if variable else "")):
            raise _conflict(self._job.name)
        if variable and variable.open and known.nonce and variable.nonce != known.nonce:  # its submit died before that
            self._correct(known, variable)
        return "created" if known.nonce == self._nonce else "exists"

    def _opened(self) -> dict[str, str]:
        if not self._items:
            items = open_items(self._job, self._resolve_secrets(self._job), self._nonce)
            check_size(self._job.name, items)
            self._items = items
        return self._items


def _conflict(name: str) -> Conflict:
    return Conflict(f"{name} exists already and was made from a different request; a new run needs a new run_id")
