"""Does what Nomad does not: enforces deadlines, completes interrupted cancellations, removes expired Variables.

Nomad has no deadline for a batch job, and never removes a Variable. So `reconcile` ends overdue jobs, stops jobs that
still run although their Variable is closed, and removes the Variables of jobs after their retention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from runner.drivers import claiming
from runner.drivers.claiming import OtherPlaces
from runner.drivers.claims import ASSUMED, NEW
from runner.drivers.driver import SET_ASIDE_SECONDS, Due, Retention, each_of
from runner.drivers.nomad.allocations.waiting import overdue, overstayed, shortage, timed_out
from runner.drivers.nomad.closing import restored
from runner.drivers.nomad.listing import LIST_SECONDS, Cache, stubs_by_name
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.objects import JobStub
from runner.drivers.nomad.submission import ABANDONED_SECONDS, VariablePlace, standing_of
from runner.drivers.nomad.variable import Ended, JobVariable, VariableStub, closed_items
from runner.runtime.clock import Clock, Deadline


class NamespaceReconciler:
    """One pass over one namespace. `settles`: whether pools lead to other engines, so that a claim may be assumed."""

    def __init__(self, namespace: Namespace, cache: Cache, clock: Clock, others: OtherPlaces, *, settles: bool) -> None:
        self._namespace = namespace
        self._other_places = others
        self._cache = cache
        self._settles = settles
        self._deadline = Deadline.after(LIST_SECONDS, clock)

    def run(self, expired: Retention | None) -> int:
        """See Driver.reconcile."""
        listed = self._namespace.variables(self._deadline)
        stubs = stubs_by_name(listed)
        # Ended jobs are most of all jobs, and only the removal needs them.
        jobs = self._namespace.jobs(self._deadline, ended=expired is not None)
        without_job = [stubs[name] for name in stubs.keys() - {job.id for job in jobs.items}]
        live = [(job, stubs.get(job.id)) for job in jobs.items if not job.ended]
        removed = sum(self._remove(each, listed.now, expired) for each in without_job) if expired else 0
        # A job that cannot be ended (its Variable is another program's, say) does not stop the others from being ended.
        list(each_of(live, lambda pair: self._enforce(*pair, jobs.now)))
        list(each_of(without_job, lambda stub: self._yield_abandoned(stub, listed.now)))
        if self._settles:
            self._settle_all()
        return removed

    def due(self, expired: Retention) -> Iterator[Due]:
        """See Driver.due. The same decisions as those of `run`."""
        listed = self._namespace.variables(self._deadline)
        stubs, jobs = stubs_by_name(listed), self._namespace.jobs(self._deadline)
        for job in jobs.items:
            yield from self._due_live(job, stubs.get(job.id), jobs.now)
        for name in sorted(stubs.keys() - {job.id for job in jobs.items}):
            yield from self._due_without_job(stubs[name], listed.now, expired)
        for stub in stubs.values() if self._settles else ():
            if (variable := self._changed(stub)) and variable.claim == ASSUMED:
                yield Due.settling(stub.name, self._namespace.name)

    def _due_live(self, job: JobStub, stub: VariableStub | None, now: float) -> Iterator[Due]:
        variable = self._changed(stub)
        if job.ended:
            return
        if (variable is None or variable.open) and (ended := self._overdue(job, now)):
            why = "it has run longer than it may" if ended.timed_out else f"it waits too long: {ended.unschedulable}"
            yield Due(job.id, self._namespace.name, "end", why)
        elif variable and not variable.open and not job.stop:
            yield Due(job.id, self._namespace.name, "stop", "its Variable is closed, and it has not been stopped")

    def _due_without_job(self, stub: VariableStub, now: float, expired: Retention) -> Iterator[Due]:
        variable = self._cache.variable(self._namespace, stub, self._deadline)
        if variable is None:
            return
        if _is_old(variable, now, expired):
            yield Due(stub.name, self._namespace.name, "remove", "its Variable has been kept for long enough")
        elif self._abandoned(stub, now):
            why = "its request was not completed; it yields if another place has the name"
            yield Due(stub.name, self._namespace.name, "settle", why)

    def _changed(self, stub: VariableStub | None) -> JobVariable | None:
        """The Variable, if it has changed since the job was submitted."""
        return self._cache.variable(self._namespace, stub, self._deadline) if stub and stub.changed else None

    def _yield_abandoned(self, stub: VariableStub, now: float) -> Iterable[str]:
        """Let a claim yield that nobody has completed, if another place has the name. Returns its name, or none."""
        if (variable := self._abandoned(stub, now)) is None:
            return []
        mine = standing_of(stub.name, variable, self._namespace.name)
        place = VariablePlace(self._namespace)
        yielded = mine is not None and claiming.yield_if_taken(mine, place, self._other_places, self._deadline)
        return [stub.name] if yielded else []

    def _abandoned(self, stub: VariableStub, now: float) -> JobVariable | None:
        """The Variable, if it is a claim that nobody has completed."""
        if stub.changed or now - stub.modify_time / 1e9 < ABANDONED_SECONDS:
            return None
        variable = self._cache.variable(self._namespace, stub, self._deadline)
        return variable if variable and variable.claim == NEW and variable.awaits_submit else None

    def _settle_all(self) -> None:
        """Settle every assumed claim, also of jobs that are reported. An engine that does not answer is asked once."""
        list(each_of(stubs_by_name(self._namespace.variables(self._deadline)).values(), self._settle))

    def _settle(self, stub: VariableStub) -> Iterable[str]:
        """Settle one. Returns its name, or none."""
        variable = self._changed(stub)
        place = VariablePlace(self._namespace)
        mine = place.standing(stub.name, self._deadline) if variable and variable.claim == ASSUMED else None
        if mine is None or mine.claim != ASSUMED:
            return []
        claiming.settle(mine, place, self._other_places, self._deadline)
        return [stub.name]

    def _enforce(self, job: JobStub, stub: VariableStub | None, now: float) -> Iterable[str]:
        """Close the job's Variable if the job is overdue. Stop the job if its Variable is closed and it still runs.

        Returns the names of the jobs that were stopped: this one or none.
        """
        variable = self._changed(stub)
        if variable is None or variable.open:
            variable = self._close_overdue(job, now) or variable
        if variable and not variable.open and not job.stop:
            self._namespace.stop(job.id, self._deadline)
            return [job.id]
        return []

    def _close_overdue(self, job: JobStub, now: float) -> JobVariable | None:
        """Close the Variable of an overdue job and return it. None if the job is not overdue, or another write won."""
        if (ended := self._overdue(job, now)) is None:
            return None
        variable = self._namespace.variable(job.id, self._deadline)
        if variable is not None and not variable.open:
            return variable
        if (variable := variable or restored(self._namespace, job, self._deadline)) is None:
            return None
        closed = msgspec.structs.replace(variable, ended=ended, open=False)
        written = self._namespace.write(job.id, closed_items(closed), variable.index, self._deadline)
        return closed if written else None

    def _overdue(self, job: JobStub, now: float) -> Ended | None:
        """As `overdue`. A stub does not show whether a task of the job has started: that is read, once for each job."""
        ended = overdue(job, now)
        if ended is None or not ended.unschedulable:
            return ended
        if self._cache.has_begun(self._namespace, job):
            return timed_out(job, now)
        if allocations := self._namespace.allocations(job.id, self._deadline):
            if self._cache.has_begun(self._namespace, job, allocations):
                return timed_out(job, now)
            return overstayed(job, allocations)
        reason = shortage(self._namespace.evaluations(job.id, self._deadline))
        return Ended(unschedulable=reason or ended.unschedulable)

    def _remove(self, stub: VariableStub, now: float, expired: Retention) -> bool:
        """Remove a Variable without a job once it is old enough. Nomad removes the jobs (`job_gc_threshold`)."""
        variable = self._cache.variable(self._namespace, stub, self._deadline)
        if variable is None or not _is_old(variable, now, expired):
            return False
        self._namespace.delete(stub.name, variable.index, self._deadline)
        return True


def _is_old(variable: JobVariable, now: float, expired: Retention) -> bool:
    """Whether a Variable without a job is to be removed."""
    kept = expired.reported if variable.reported else expired.orphaned
    return now - variable.modified > (SET_ASIDE_SECONDS if variable.set_aside else kept)
