"""runner.tracker.ledger: which step is due next, whatever is seen while another is in progress."""

from __future__ import annotations

from runner.config.types import LimitsSection
from runner.observation import Observation
from runner.runtime.backoff import Backoff
from runner.tracker.ledger.ledger import Ledger
from tests.harness.clock import ManualClock

RUNS = Observation(name="job-1", driver="d", place="ci", identity="1", pool="p", phase="running", created=0.0)


def test_a_job_that_is_seen_again_during_a_find_that_fails_is_found_later() -> None:
    clock = ManualClock()
    ledger = Ledger(LimitsSection(), clock, lambda: Backoff(1, 30), lambda: None)
    ledger.replace("ci", [RUNS])
    ledger.replace("ci", [])
    taken = ledger.take("find")
    assert taken is not None
    ledger.update(RUNS)
    pause = ledger.postpone(taken.record)
    assert ledger.take("find") is None
    clock.advance(pause)
    assert ledger.take("find") is not None
