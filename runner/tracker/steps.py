"""Carries out the steps of a record: each is one or two requests to the cluster or to atlas, and may take its time.

Every step ends in the ledger: done, postponed, or looked up again. A step that fails is logged and repeated.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from runner.drivers.driver import Driver
from runner.errors import OrchestratorError
from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.runtime import logs
from runner.runtime.traces import traceparent
from runner.security.masking import evidence_tail
from runner.tracker.circuit_breaker import LONGEST_RETRY_AFTER
from runner.tracker.leadership.accepted import AcceptedResults
from runner.tracker.ledger.ledger import Ledger
from runner.tracker.ledger.record import Record, Step, Taken
from runner.tracker.publisher import NotAccepted
from runner.tracker.results import results
from runner.tracker.shared import Shared

log = logging.getLogger("orchestrator.tracker")

LOG_LINES, LOG_CHARACTERS = 20, 4096
"""How much of a failed job's log becomes evidence: its last lines."""

READ_LINES = 200
"""How much of it is read: more than is shown, since a key is recognised by its first line."""

EVIDENCE_SECONDS = 1.0
"""How long a result waits for that log. A node that does not answer delays its own jobs' results by no more."""

_UNAUTHORIZED = frozenset({401, 403})

REFUSALS = 20
"""How often atlas may refuse a result for good until its job is set aside."""


class Steps:
    """The steps of one driver's records."""

    def __init__(
        self, driver: Driver, ledger: Ledger, leads: Callable[[], bool], accepted: AcceptedResults, shared: Shared
    ) -> None:
        self._driver = driver
        self._ledger = ledger
        self._leads = leads
        self._accepted = accepted
        self._publisher = shared.publisher
        self._breaker = shared.breaker
        self._clock = shared.clock
        self._metrics = shared.metrics
        self._tracer = shared.tracer
        self._lock = threading.Lock()
        self._by_step: dict[Step, Callable[..., None]] = {
            "find": self._find,
            "explain": self._explain,
            "evidence": self._evidence,
            "end": self._end,
            "publish": self._publish,
            "mark": self._mark,
            "set_aside": self._set_aside,
        }
        self._fetching: dict[Record, float] = {}
        """Records whose log is being read, and until when that may take."""
        self.aside_changes = 0
        """How often a job was set aside, or was marked as reported after its result was sent again."""

    def __repr__(self) -> str:
        return f"Steps({self._driver.name}, {len(self._fetching)} logs being read)"

    def carry_out(self, step: Step, taken: Taken) -> None:
        """Carry out one step."""
        try:
            self._by_step[step](*taken)
        except OrchestratorError as error:
            self._failed(step, taken.record, error)
        except Exception:
            pause = self._ledger.postpone(taken.record)
            log.exception("%s: %s failed: internal error; next attempt in %.0f s", taken.seen.name, step, pause)

    def evidence_began(self, record: Record) -> None:
        """Its log is about to be read."""
        with self._lock:
            self._fetching[record] = self._clock.monotonic() + EVIDENCE_SECONDS

    def began_within(self, seconds: float) -> int:
        """How many logs are being read since less than so many seconds."""
        since = self._clock.monotonic() - seconds + EVIDENCE_SECONDS
        with self._lock:
            return sum(until > since for until in self._fetching.values())

    def overdue_evidence(self) -> float | None:
        """Go on without the logs that take too long. Gives the seconds until the next one takes too long."""
        now = self._clock.monotonic()
        with self._lock:
            late = [record for record, until in self._fetching.items() if until <= now]
            for record in late:
                del self._fetching[record]
            left = min(self._fetching.values(), default=None)
        for record in late:
            log.warning("%s: its log could not be read in time; its result goes without", record.seen.name)
            self._ledger.did(record, "evidence")
        return None if left is None else left - now

    def _find(self, record: Record, seen: Observation, _: Outcome | None) -> None:
        self._ledger.found(record, self._driver.find(seen))

    def _explain(self, record: Record, seen: Observation, _: Outcome | None) -> None:
        try:
            seen = self._driver.explain(seen)
        except OrchestratorError as error:
            log.warning("%s: its events could not be read: %s", seen.name, error.detail)
        self._ledger.explained(record, seen)

    def _evidence(self, record: Record, seen: Observation, _: Outcome) -> None:
        tail = ""
        try:
            raw = self._driver.logs(seen.name, seen.container, READ_LINES, seen)
            tail = evidence_tail(raw, LOG_LINES, LOG_CHARACTERS)
        except OrchestratorError as error:
            log.debug("%s: its log could not be read: %s", seen.name, error.detail)
        finally:
            with self._lock:
                in_time = self._fetching.pop(record, None) is not None
            if in_time:
                self._ledger.add_log(record, tail)
                self._ledger.did(record, "evidence")

    def _end(self, record: Record, seen: Observation, outcome: Outcome) -> None:
        if self._driver.end(seen, outcome) and self._is_stored(seen, outcome):
            self._ledger.did(record, "end")
        else:  # it has ended otherwise meanwhile, was cancelled, or is gone
            self._ledger.find_again(record, undecided=True, not_ended=True)

    def _is_stored(self, seen: Observation, outcome: Outcome) -> bool:
        """Whether it was ended for this outcome. A driver keeps the first one, which a stale list does not show."""
        found = self._driver.find(seen)
        if found is None or found.identity != seen.identity or found.ended_as is None:
            return True
        return found.ended_as.reason == outcome.reason

    def _publish(self, record: Record, seen: Observation, outcome: Outcome) -> None:
        for result in results(seen, outcome):
            if result.id in self._accepted and not seen.resent:
                record.accepted.add(result.id)
            if result.id in record.accepted:
                continue
            if not self._leads():
                self._ledger.postpone(record)
                return
            self._publisher.publish(seen.name, result)
            record.accepted.add(result.id)
            self._accepted.add(result.id)
            self._metrics.published(200)
            if self._breaker.succeeded():
                self._ledger.release("publish")
        if record.gone:  # so it is never marked
            self._report(record, seen, outcome)
            self._accepted.marked(record.accepted)
        self._ledger.did(record, "publish")

    def _mark(self, record: Record, seen: Observation, outcome: Outcome) -> None:
        if not self._driver.mark_reported(seen, outcome):
            self._ledger.find_again(record)
            return
        self._report(record, seen, outcome)
        self.aside_changes += bool(seen.resent)
        self._accepted.marked(record.accepted)
        self._ledger.did(record, "mark")

    def _set_aside(self, record: Record, seen: Observation, outcome: Outcome) -> None:
        if not self._driver.set_aside(seen, outcome, record.answer):
            self._ledger.find_again(record)
            return
        self.aside_changes += 1
        log.error(
            "%s: atlas refuses its result for good; the job is set aside for seven days; see `jobs show %s` and correct"
            " the cause",
            seen.name,
            seen.name,
        )
        self._ledger.did(record, "set_aside")

    def _report(self, record: Record, seen: Observation, outcome: Outcome) -> None:
        publisher = "published by the tracker" if record.accepted else "published by the job"
        report = (seen.cancellation if seen.cancelled else None) or seen.report
        logs.log_command(
            "ended",
            request_id=report.request_id if report else "",
            job=seen.name,
            reason=outcome.reason,
            code=outcome.code,
            result=publisher,
        )
        now = self._clock.monotonic()
        self._metrics.reported(seen, outcome.reason, now - record.decided_at)
        if record.started_at is not None:
            waited = self._clock.wall() - (now - record.started_at) - seen.created
            self._metrics.ran(waited, record.decided_at - record.started_at)
        self._trace(seen, outcome, report, self._clock.wall() - (now - record.decided_at))

    def _trace(self, seen: Observation, outcome: Outcome, report: Report | None, ended: float) -> None:
        """The job itself as a span, from its creation to its end. `ended` is in seconds since 1970."""
        parent = traceparent(report.traceparent) if report else ""
        facts = {"job": seen.name, "driver": seen.driver, "pool": seen.pool, "reason": outcome.reason}
        span = self._tracer.start("job", parent, facts, began=seen.created or ended)
        failure = "" if outcome.reason == "succeeded" else outcome.reason
        span.end(failure, {"code": outcome.code}, ended=max(ended, seen.created))

    def _inform_breaker(self, record: Record, error: NotAccepted) -> None:
        """A refusal for good shows that atlas answers, so it closes the breaker.

        401 and 403 may concern all results, after a rotation of keys: the first one of a result counts as a failure.
        Those that follow it do not count while the breaker is closed: a few results that atlas never authorizes would
        hold up all others.
        """
        again, record.unauthorized = record.unauthorized, error.status in _UNAUTHORIZED
        if error.permanent:
            if self._breaker.succeeded():
                self._ledger.release("publish")
        elif not (again and record.unauthorized and self._breaker.open_since is None):
            self._breaker.failed(record.seen.name, error.retry_after)

    def _failed(self, step: Step, record: Record, error: OrchestratorError) -> None:
        at_least = 0.0
        if isinstance(error, NotAccepted):
            self._metrics.published(error.status)
            at_least = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
            record.refusals += error.permanent
            record.answer = error.answer
            self._inform_breaker(record, error)
            if record.refusals >= REFUSALS:
                if record.gone:
                    log.error("%s: atlas refuses its result for good, and the job is gone: %s", record.seen.name, error)
                self._ledger.set_aside(record)
                return
        if step == "end":  # it may have been completed meanwhile, so it is judged anew before it is ended
            log.warning("%s: end failed: %s; it is read again", record.seen.name, error.detail)
            self._ledger.find_again(record, undecided=True)
            return
        pause = self._ledger.postpone(record, at_least)
        verb = "not reported" if step == "publish" else f"{step} failed"
        log.warning("%s: %s: %s; next attempt in %.0f s", record.seen.name, verb, error.detail, pause)
