"""The election of a leader in a record on a cluster, by one rule for all clusters.

All waiting is counted on the process's own monotonic clock:

- The leader writes the record every RENEW_SECONDS. Each write changes its version.
- A waiting process reads the record every RETRY_SECONDS. It writes its own name by check-and-set once the version has
  not changed for LEASE_SECONDS, or at once if the holder is empty (released). Of several such writes, one succeeds.
- The leader counts from the start of its last answered renewal, and stops MARGIN_SECONDS before LEASE_SECONDS are over.
  Another process starts to count later, when it first reads that version. So its count ends later.
- The record also has the ids of accepted results whose jobs are not marked yet. The leader writes it for them as well,
  each STORE_SECONDS at most. The next leader reads them with the record that it takes.
- A renewal that is not answered does not count, although it may have been applied. The leader then reads the record
  first: if its name is still in it, it goes on from that version.

Two leaders by accident do no harm: they publish the same results under the same ids.
"""

from __future__ import annotations

import logging
from functools import partial
from random import Random

from runner.drivers.driver import LeaderRecord, LeaderStore
from runner.errors import OrchestratorError
from runner.runtime.clock import Clock, Deadline
from runner.runtime.tasks import Signal, Tasks
from runner.tracker.leadership.accepted import AcceptedResults

log = logging.getLogger("orchestrator.leader")

LEASE_SECONDS = 10.0
"""Another process takes over after so long without a change of the record."""

MARGIN_SECONDS = 2.0
"""By which the leader stops earlier: for a publication that has begun, and for clocks of different speed."""

STORE_SECONDS = 0.05
"""Between two writes for accepted results: in a burst, a crash repeats what was accepted in about so long."""

RENEW_SECONDS = 2.0
RETRY_SECONDS = 1.0
"""Between two reads while waiting, a quarter more or less; and after a renewal that was not answered."""

ANSWER_SECONDS = 2.0
"""For the store to answer."""

RELEASE_SECONDS = 1.5
"""For the release, which is tried again meanwhile."""


class _HeldLease:
    """One leadership, from its acquisition to its loss."""

    def __init__(self, version: str, renewed: float) -> None:
        self.version: str | None = version
        """None while it is unknown whether the last write was applied."""
        self.renewed = renewed
        """The start of the last answered renewal, on the monotonic clock."""
        self.over = False


class ElectedLeadership:
    """Held in a record on the cluster. See the rule above."""

    def __init__(
        self,
        store: LeaderStore,
        holder: str,
        accepted: AcceptedResults,
        clock: Clock,
        random: Random,
        tasks: Tasks,
    ) -> None:
        self._store = store
        self._holder = holder
        self._accepted = accepted
        accepted.stores = True
        self._clock = clock
        self._random = random
        self._tasks = tasks
        self._lease: _HeldLease | None = None
        self._written = False  # a write of our name was sent, so the record may have it
        self._seen: str | None = None  # the version last read; "" if there was no record
        self._free_at = 0.0
        self._reported: str | None = None  # the leader that was logged last

    def __repr__(self) -> str:
        return f"ElectedLeadership({self._holder}, {self._store.where}, held={self.held()})"

    def acquire(self, stop: Signal) -> bool:
        """See Leadership."""
        while not stop.is_set():
            if self.held():
                return True
            if not self._contend():
                stop.wait(RETRY_SECONDS * (0.75 + self._random.random() / 2))
        return False

    def held(self) -> bool:
        """See Leadership."""
        lease = self._lease
        return lease is not None and self._valid(lease)

    def release(self) -> None:
        """See Leadership. Reads first: a renewal that was not answered may still have been applied."""
        if self._lease is not None:
            self._end(self._lease)
        self._lease = None
        deadline = Deadline.after(RELEASE_SECONDS, self._clock)
        while self._written and deadline.left > 0:
            try:
                self._written = not self._empty_record(deadline)
            except OrchestratorError as error:
                log.warning("the leadership in %s was not released: %s", self._store.where, error.detail)
            if self._written:
                self._clock.sleep(RELEASE_SECONDS / 6)
        self._written = False

    def _empty_record(self, deadline: Deadline) -> bool:
        """Take this process's name out of the record. Returns false if it was written in between."""
        record = self._store.read(deadline)
        if record is None or record.holder != self._holder:
            return True
        return self._store.write("", record.version, deadline, self._accepted.to_store()) is not None

    def _contend(self) -> bool:
        """Read the record, and take it if it is free. Returns whether this process leads now."""
        try:
            record = self._store.read(self._answer_deadline())
            if not self._is_free(record):
                self._report_leader(record)
                return False
            started = self._clock.monotonic()
            self._written = True
            known = record or LeaderRecord("", "")
            version = self._store.write(self._holder, known.version, self._answer_deadline(), known.accepted)
        except OrchestratorError as error:
            self._report("?", f"{self._store.where} has not answered: {error.detail}; this process waits until it does")
            return False
        except Exception:
            log.exception("no leader can be elected by %s: internal error", self._store.where)
            return False
        if version is None:
            return False
        self._accepted.inherit(known.accepted)
        self._lead(_HeldLease(version, started))
        return True

    def _is_free(self, record: LeaderRecord | None) -> bool:
        """Whether it may be taken: there never was one, it is released or ours, or it has not changed for a lease."""
        holder, version = (record.holder, record.version) if record else ("", "")
        now = self._clock.monotonic()
        if version != self._seen:
            # A record that disappears has changed: its leader may still be there.
            at_once = self._seen is None if record is None else holder in ("", self._holder)
            self._seen = version
            self._free_at = now if at_once else now + LEASE_SECONDS
        return now >= self._free_at

    def _lead(self, lease: _HeldLease) -> None:
        self._lease = lease
        self._reported = None
        log.info("this process leads by %s as %s", self._store.where, self._holder)
        self._tasks.start(f"leadership {self._store.where}", partial(self._keep, lease))

    def _keep(self, lease: _HeldLease) -> None:
        """Renew until the lease is over. A task of its own, so that a busy tracker keeps its leadership."""
        pause = RENEW_SECONDS
        while True:
            self._accepted.due.wait(pause)
            if not self._valid(lease):
                return
            self._accepted.due.clear()
            renewed = self._renewed(lease)
            pause = RENEW_SECONDS if renewed else 0.0
            self._clock.sleep(STORE_SECONDS if renewed else RETRY_SECONDS)

    def _renewed(self, lease: _HeldLease) -> bool:
        """Renew. Returns false if it is to be tried again soon."""
        try:
            self._renew(lease)
        except OrchestratorError as error:
            log.warning("the leadership in %s was not renewed: %s", self._store.where, error.detail)
            return False
        except Exception:
            log.exception("the leadership in %s was not renewed: internal error", self._store.where)
            return False
        return True

    def _renew(self, lease: _HeldLease) -> None:
        version, lease.version = lease.version, None
        if version is None:
            record = self._store.read(self._answer_deadline())
            if record is None or record.holder != self._holder:
                self._lose(lease, f"{record.holder if record and record.holder else 'nobody'} holds it")
                return
            version = record.version
        started = self._clock.monotonic()
        accepted = self._accepted.to_store()
        written = self._store.write(self._holder, version, self._answer_deadline(), accepted)
        if written is None:
            self._lose(lease, "another process has written the record")
        else:
            lease.version, lease.renewed = written, started
            self._accepted.stored(accepted)

    def _valid(self, lease: _HeldLease) -> bool:
        if not lease.over and self._clock.monotonic() >= lease.renewed + LEASE_SECONDS - MARGIN_SECONDS:
            self._lose(lease, f"it was not renewed for {LEASE_SECONDS - MARGIN_SECONDS:.0f} s")
        return not lease.over

    def _end(self, lease: _HeldLease) -> None:
        lease.over = True
        self._accepted.due.set()

    def _lose(self, lease: _HeldLease, reason: str) -> None:
        if not lease.over:
            self._end(lease)
            log.error("the leadership in %s is lost: %s; this process stops publishing", self._store.where, reason)

    def _answer_deadline(self) -> Deadline:
        return Deadline.after(ANSWER_SECONDS, self._clock)

    def _report_leader(self, record: LeaderRecord | None) -> None:
        holder = record.holder if record else ""
        leader = f"{holder} leads by {self._store.where}" if holder else f"{self._store.where} was deleted"
        self._report(holder, f"{leader}; this process waits")

    def _report(self, state: str, message: str) -> None:
        """Log what it waits for, once."""
        if state != self._reported:
            self._reported = state
            log.info("%s", message)
