"""What Nomad leaves to the driver: deadlines, cancellations that stopped half way, Variables that outlive their jobs.

Nomad has no deadline for a batch job, and never removes a Variable. So the tracker has the driver end what is overdue,
stop what is closed and still runs, and remove the Variables of jobs that were reported long ago.
"""

from __future__ import annotations

import msgspec

from runner.drivers.driver import Retention
from runner.drivers.nomad import record as nomad_record
from runner.drivers.nomad.listing import LIST_SECONDS, Cache, named
from runner.drivers.nomad.namespace import Namespace
from runner.drivers.nomad.observation import JobStub, overdue, shortage
from runner.drivers.nomad.record import Ended, Record, Variable
from runner.jobs import Report
from runner.runtime.clock import Clock, Deadline


class NamespaceReconciler:
    """One pass over one namespace."""

    def __init__(self, where: Namespace, cache: Cache, clock: Clock) -> None:
        self._where = where
        self._cache = cache
        self._deadline = Deadline.after(LIST_SECONDS, clock)

    def run(self, expired: Retention | None) -> int:
        """See Driver.reconcile."""
        listed = self._where.variables(self._deadline)
        variables = named(listed)
        jobs = self._where.jobs(self._deadline)
        for job in jobs.items:
            variable = variables.pop(job.id, None)
            if not job.ended:
                self._enforce(job, variable, jobs.now)
        return sum(self._remove(each, listed.now, expired) for each in variables.values()) if expired else 0

    def _enforce(self, job: JobStub, variable: Variable | None, now: float) -> None:
        """End the job if it is overdue. Stop it if its record is closed and it still runs."""
        changed = variable if variable and variable.changed else None
        record = self._cache.record(self._where, changed, self._deadline) if changed else None
        if record is None or record.open:
            record = self._close_overdue(job, now) or record
        if record and not record.open and not job.stop:
            self._where.stop(job.id, self._deadline)

    def _close_overdue(self, job: JobStub, now: float) -> Record | None:
        """Close the record of an overdue job. None for any other job, and where another process has closed it."""
        ended = overdue(job, now)
        if ended is None:
            return None
        record = self._where.record(job.id, self._deadline)
        if record is None:
            record = restored(self._where, job, self._deadline)
        elif not record.open:
            return record
        if record is None:
            return None
        if ended.unschedulable:
            reason = shortage(self._where.evaluations(job.id, self._deadline))
            ended = Ended(unschedulable=reason or ended.unschedulable)
        closed = msgspec.structs.replace(record, ended=ended, open=False)
        written = self._where.write(job.id, nomad_record.closed(closed), record.index, self._deadline)
        return closed if written else None

    def _remove(self, variable: Variable, now: float, expired: Retention) -> bool:
        """Remove a Variable without a job once it is old enough. Nomad removes the jobs (`job_gc_threshold`)."""
        record = self._cache.record(self._where, variable, self._deadline)
        if record is None or now - record.modified <= (expired.reported if record.reported else expired.orphaned):
            return False
        self._where.drop(variable.name, record.index, self._deadline)
        return True


def restored(where: Namespace, job: JobStub, deadline: Deadline) -> Record | None:
    """The record of a job whose Variable somebody has removed, written anew; None if another process was faster.

    It is only the first write. A Variable that was never changed belongs to a job that goes on, and is not read.
    """
    meta = job.meta or {}
    report = nomad_record.decode(meta.get(nomad_record.REPORT), Report)
    record = Record(fingerprint=job.fingerprint, pool=meta.get(nomad_record.POOL, ""), report=report)
    where.write(job.id, nomad_record.closed(record), 0, deadline)
    return where.record(job.id, deadline)
