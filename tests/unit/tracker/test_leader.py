"""runner.tracker.leadership: one leads, the next takes over in time, never two at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from runner.drivers.driver import LeaderRecord
from runner.drivers.http.client import Unsettled
from runner.errors import Rejected, Unavailable
from runner.runtime.clock import Deadline, SystemClock
from runner.runtime.tasks import Threads
from runner.tracker.leadership.accepted import MARKED_SECONDS, NOT_WORTH_A_WRITE, AcceptedResults
from runner.tracker.leadership.election import (
    LEASE_SECONDS,
    MARGIN_SECONDS,
    RENEW_SECONDS,
    RETRY_SECONDS,
    STORE_SECONDS,
    ElectedLeadership,
)
from runner.tracker.leadership.leader import LockedLeadership, holder_name, leadership
from tests.harness.processes import ROOT, eventually
from tests.harness.simulated_hosts import Host, World

TAKEOVER_SECONDS = 15.0
"""After a death. The promise of the design, not a constant of the code."""

HANDOVER_SECONDS = 2.0
"""After a clean stop."""

HELD_SECONDS = LEASE_SECONDS - MARGIN_SECONDS


T = TypeVar("T")


class Record:
    """The record on the cluster: who holds it, and its version. None: there is no record."""

    def __init__(self) -> None:
        self.now: LeaderRecord | None = None
        self.writes = 0

    def write(self, holder: str, version: str, accepted: Sequence[str] = ()) -> str | None:
        if version != (self.now.version if self.now else ""):
            return None
        self.writes += 1
        self.now = LeaderRecord(holder, f"v{self.writes}", tuple(accepted))
        return self.now.version


class Store:
    """One host's connection to the record. `faults` are those of the next requests; `chance` is that of any other."""

    where = "Lease ci/orchestrator-tracker"

    def __init__(self, record: Record, host: Host, latency: float = 0.05, chance: float = 0.0) -> None:
        self._record = record
        self._host = host
        self._latency = latency
        self.chance = chance
        self.faults: list[str] = []

    def read(self, deadline: Deadline) -> LeaderRecord | None:
        return self._exchange(lambda: self._record.now, deadline)

    def write(self, holder: str, version: str, deadline: Deadline, accepted: Sequence[str] = ()) -> str | None:
        return self._exchange(lambda: self._record.write(holder, version, accepted), deadline)

    def _exchange(self, request: Callable[[], T], deadline: Deadline) -> T:
        random, fault = self._host.world.random, ""
        if self.faults:
            fault = self.faults.pop(0)
        elif random.random() < self.chance:
            fault = random.choice(["unreachable", "lost request", "lost answer", "late", "slow"])
        if fault == "unreachable":
            raise Unavailable("connection refused")
        self._wait(random.uniform(0, self._latency), deadline)
        if fault == "late":  # the request arrives long after its sender has given up
            network, seconds = self._host.world.host(), random.uniform(1, 15)
            network.start("late", lambda: (network.sleep(seconds), request()))  # type: ignore[arg-type, func-returns-value, return-value]
        if fault in ("lost request", "late"):
            self._wait(60, deadline)
        answer = request()
        if fault == "lost answer":
            self._wait(60, deadline)
        self._wait(1.8 if fault == "slow" else random.uniform(0, self._latency), deadline)
        return answer

    def _wait(self, seconds: float, deadline: Deadline) -> None:
        if seconds > deadline.left:
            self._host.sleep(max(deadline.left, 0))
            raise Unsettled("no answer")
        self._host.sleep(seconds)


def accepted_results() -> AcceptedResults:
    return AcceptedResults(threading.Event(), SystemClock())


class Contender:
    """A tracker: leads while it can, and tries again when it has lost the leadership."""

    def __init__(self, world: World, record: Record, name: str, chance: float = 0.0, rate: float = 1.0) -> None:
        self.host = world.host(rate)
        self.store = Store(record, self.host, chance=chance)
        self.accepted = AcceptedResults(self.host.signal(), self.host)
        self.leadership = ElectedLeadership(self.store, name, self.accepted, self.host, world.random, self.host)
        self.stop = self.host.signal()
        self.acquired = 0
        self.host.start(name, self._run)

    @property
    def leads(self) -> bool:
        return not (self.host.dead or self.host.frozen) and self.leadership.held()

    def _run(self) -> None:
        while self.leadership.acquire(self.stop):
            self.acquired += 1
            while self.leadership.held() and not self.stop.is_set():
                self.stop.wait(0.5)
        self.leadership.release()


class Stage:
    """Contenders for one record. After each step of any of them, at most one leads."""

    def __init__(self, count: int, seed: int = 1, chance: float = 0.0, drift: float = 0.0) -> None:
        self.world = World(seed)
        self.record = Record()
        self.contenders = [
            Contender(self.world, self.record, f"host-{number}", chance, 1 + self.world.random.uniform(-drift, drift))
            for number in range(count)
        ]
        self.world.after_each = self._check

    def _check(self) -> None:
        assert len(self.leaders()) <= 1, f"two lead at {self.world.now:.2f} s: {self.leaders()}"

    def leaders(self) -> list[Contender]:
        return [each for each in self.contenders if each.leads]

    def run(self, seconds: float) -> None:
        self.world.run(seconds)

    def await_leader(self, seconds: float = 60.0) -> Contender:
        """Run until one leads, at most so long."""
        self.world.run(seconds, lambda: self.leaders())
        assert self.leaders(), f"nobody leads after {seconds} s"
        return self.leaders()[0]


@pytest.mark.parametrize("seed", range(5))
def test_of_twenty_one_leads_and_after_each_death_another_within_fifteen_seconds(seed: int) -> None:
    stage = Stage(20, seed)
    stage.await_leader(HANDOVER_SECONDS).host.kill()
    for _ in range(18):
        leader = stage.await_leader(TAKEOVER_SECONDS)
        stage.run(stage.world.random.uniform(0, 30))
        assert leader.leads
        leader.host.kill()
    stage.await_leader(TAKEOVER_SECONDS)


@pytest.mark.parametrize("seed", range(5))
def test_after_a_clean_stop_another_leads_within_two_seconds(seed: int) -> None:
    stage = Stage(20, seed)
    for _ in range(19):
        leader = stage.await_leader(HANDOVER_SECONDS)
        stage.run(stage.world.random.uniform(0, 30))
        leader.stop.set()
        leader.host.start("stopped", leader.leadership.release)
        stage.world.run(1, lambda leader=leader: not leader.leads)
    stage.await_leader(HANDOVER_SECONDS)


@pytest.mark.parametrize("seed", range(60))
def test_never_two_lead_whatever_the_network_the_clocks_and_the_scheduler_do(seed: int) -> None:
    """Requests are lost, late and slow; clocks run at speeds that differ by 2 %; processes are frozen and killed."""
    stage = Stage(6, seed, chance=0.3, drift=0.01)
    random = stage.world.random
    for _ in range(30):
        stage.run(random.uniform(0, 20))
        one = random.choice(stage.contenders)
        for action in random.choice([[one.host.freeze], [one.host.thaw], [one.stop.set], []]):
            action()
        if one.stop.is_set() or one.host.dead:
            stage.contenders.remove(one)
            stage.contenders.append(
                Contender(stage.world, stage.record, f"host-{random.random()}", 0.3, 1 + random.uniform(-0.01, 0.01))
            )
    for each in stage.contenders:
        each.host.thaw()
        each.store.chance = 0.0
    stage.await_leader(TAKEOVER_SECONDS + 15)  # a late request may still renew a dead process's lease once


def test_a_leader_that_cannot_renew_stops_before_another_can_lead() -> None:
    stage = Stage(2)
    leader = stage.await_leader()
    leader.store.chance = 1.0
    leader.store.faults = ["unreachable"] * 100
    stopped = stage.world.run(60, lambda: not leader.leads)
    assert HELD_SECONDS - RENEW_SECONDS - 0.5 <= stopped <= HELD_SECONDS
    taken = stage.world.run(60, stage.leaders)
    assert taken >= MARGIN_SECONDS - 0.5
    assert stopped + taken <= TAKEOVER_SECONDS


def test_the_lease_counts_from_the_start_of_the_renewal_not_from_its_answer() -> None:
    stage = Stage(1)
    leader = stage.await_leader()
    leader.store.faults = ["slow", *["unreachable"] * 100]
    writes = stage.record.writes
    stage.world.run(60, lambda: stage.record.writes > writes)
    assert HELD_SECONDS - 0.2 <= stage.world.run(60, lambda: not leader.leads) <= HELD_SECONDS


def test_after_an_unanswered_renewal_another_holder_is_not_replaced() -> None:
    stage = Stage(1)
    leader = stage.await_leader()
    leader.store.faults = ["lost request"]
    stage.run(RENEW_SECONDS + 0.5)
    stage.record.now = LeaderRecord("somebody", "v-other")
    stage.world.run(60, lambda: not leader.leads)
    assert stage.record.now == LeaderRecord("somebody", "v-other")


@pytest.mark.parametrize("fault", ["lost request", "lost answer", "unreachable"])
def test_a_single_unanswered_renewal_costs_nothing(fault: str) -> None:
    stage = Stage(2)
    leader = stage.await_leader()
    for _ in range(10):
        leader.store.faults = [fault]
        stage.run(9)
        assert leader.leads
    assert leader.acquired == 1


def test_an_unanswered_renewal_does_not_extend_the_lease_although_it_was_applied() -> None:
    stage = Stage(1)
    leader = stage.await_leader()
    leader.store.faults = ["lost answer"] * 100
    assert stage.world.run(60, lambda: not leader.leads) <= HELD_SECONDS


def test_a_frozen_leader_has_lost_when_it_continues(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(2)
    leader = stage.await_leader()
    leader.host.freeze()
    other = stage.await_leader(TAKEOVER_SECONDS)
    leader.host.thaw()
    assert not leader.leads
    stage.run(30)
    assert other.leads
    assert "is lost" in caplog.text


def test_a_write_by_another_process_ends_the_leadership(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(1)
    leader = stage.await_leader()
    stage.record.now = LeaderRecord("somebody", "v-other")
    assert stage.world.run(60, lambda: not leader.leads) <= RENEW_SECONDS + 0.5
    assert "another process has written the record" in caplog.text


def test_who_has_acquired_without_an_answer_leads_at_its_next_attempt() -> None:
    stage = Stage(1)
    (only,) = stage.contenders
    only.store.faults = ["", "lost answer"]
    stage.await_leader(5)
    assert stage.record.writes == 2


def test_who_stops_before_its_acquisition_was_answered_releases_it() -> None:
    stage = Stage(1)
    (only,) = stage.contenders
    only.store.faults = ["", "lost answer"]
    stage.run(1.0)
    only.stop.set()
    stage.run(5)
    assert stage.record.now is not None
    assert stage.record.now.holder == ""


def test_a_renewal_in_flight_does_not_undo_a_release() -> None:
    for seed in range(50):
        stage = Stage(1, seed)
        leader = stage.await_leader()
        leader.store._latency = 0.2
        stage.run(stage.world.random.uniform(1.5, 3.5))
        leader.host.start("stopped", leader.leadership.release)
        leader.stop.set()
        stage.run(5)
        assert stage.record.now is not None
        assert stage.record.now.holder == ""


def test_a_deleted_record_is_taken_only_after_its_leader_has_stopped() -> None:
    stage = Stage(3)
    leader = stage.await_leader()
    stage.run(5)
    leader.store.faults = ["unreachable"] * 100
    stage.record.now = None
    stage.world.run(60, lambda: not leader.leads)
    stage.await_leader(TAKEOVER_SECONDS)


class TestAcceptedResults:
    """Their ids are stored in the record, so that the next leader knows them."""

    IDS = tuple(f"result-{number}" for number in range(NOT_WORTH_A_WRITE + 1))

    def accept(self, leader: Contender) -> None:
        for each in self.IDS:
            leader.accepted.add(each)

    def test_they_are_stored_before_the_next_renewal(self) -> None:
        stage = Stage(2)
        leader = stage.await_leader()
        stage.run(RENEW_SECONDS)
        self.accept(leader)
        stage.run(0.3)
        assert stage.record.now is not None
        assert set(stage.record.now.accepted) == set(self.IDS)

    def test_a_few_wait_for_the_next_renewal(self) -> None:
        stage = Stage(2)
        leader = stage.await_leader()
        writes = stage.record.writes
        for each in self.IDS[:NOT_WORTH_A_WRITE]:
            leader.accepted.add(each)
        stage.run(RENEW_SECONDS / 2)
        assert stage.record.writes == writes
        stage.run(RENEW_SECONDS)
        assert stage.record.now is not None
        assert set(stage.record.now.accepted) == set(self.IDS[:NOT_WORTH_A_WRITE])

    def test_a_stream_of_them_costs_few_writes(self) -> None:
        stage = Stage(2)
        leader = stage.await_leader()
        before = stage.record.writes
        for number in range(500):
            leader.accepted.add(str(number))
            stage.run(0.004)
        assert stage.record.writes - before <= 2 / STORE_SECONDS

    def test_the_next_leader_knows_them_after_a_death_and_stores_them_too(self) -> None:
        stage = Stage(2)
        leader = stage.await_leader()
        self.accept(leader)
        stage.run(1)
        leader.host.kill()
        other = stage.await_leader(TAKEOVER_SECONDS)
        assert all(each in other.accepted for each in self.IDS)
        stage.run(RENEW_SECONDS + 1)
        assert stage.record.now is not None
        assert set(stage.record.now.accepted) == set(self.IDS)

    def test_the_next_leader_knows_them_after_a_clean_stop(self) -> None:
        stage = Stage(2)
        leader = stage.await_leader()
        for each in self.IDS[:2]:
            leader.accepted.add(each)
        leader.stop.set()
        stage.world.run(5, lambda: not leader.leads)
        other = stage.await_leader(HANDOVER_SECONDS)
        assert all(each in other.accepted for each in self.IDS[:2])

    def test_marked_ones_are_stored_for_a_while(self) -> None:
        stage = Stage(1)
        leader = stage.await_leader()
        self.accept(leader)
        stage.run(1)
        leader.accepted.marked(self.IDS)
        stage.run(RENEW_SECONDS + 1)
        assert stage.record.now is not None
        assert set(stage.record.now.accepted) == set(self.IDS)
        stage.run(MARKED_SECONDS)
        assert not stage.record.now.accepted

    def test_a_write_that_fails_is_repeated(self) -> None:
        stage = Stage(1)
        leader = stage.await_leader()
        stage.run(RENEW_SECONDS)
        leader.store.faults = ["unreachable"]
        self.accept(leader)
        stage.run(2 * RETRY_SECONDS)
        assert stage.record.now is not None
        assert set(stage.record.now.accepted) == set(self.IDS)


def test_waiting_ones_log_once_who_leads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(3)
    leader = stage.await_leader()
    stage.run(60)
    name = leader.leadership._holder
    waiting = [record for record in caplog.messages if "waits" in record]
    assert waiting == [f"{name} leads by Lease ci/orchestrator-tracker; this process waits"] * 2
    assert len([record for record in caplog.messages if "this process leads" in record]) == 1


def test_a_refusal_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(1)
    (only,) = stage.contenders

    def refuse(*_: object) -> None:
        raise Rejected("leases are forbidden to this account")

    only.store.read = refuse  # type: ignore[method-assign, assignment]
    stage.run(60)
    assert len([message for message in caplog.messages if "are forbidden" in message]) == 1


def test_an_internal_error_of_a_store_does_not_end_the_election() -> None:
    stage = Stage(1)
    (only,) = stage.contenders
    read, only.store.read = only.store.read, None  # type: ignore[method-assign, assignment]
    stage.run(5)
    only.store.read = read  # type: ignore[method-assign]
    leader = stage.await_leader(5)
    write, only.store.write = only.store.write, None  # type: ignore[method-assign, assignment]
    stage.run(3)
    only.store.write = write  # type: ignore[method-assign]
    stage.run(60)
    assert (leader.leads, leader.acquired) == (True, 1)


def test_a_stop_ends_the_wait_at_once() -> None:
    stage = Stage(2)
    leader = stage.await_leader()
    (waiting,) = (each for each in stage.contenders if each is not leader)
    stage.run(5)
    waiting.stop.set()
    stage.run(HANDOVER_SECONDS)
    assert waiting.acquired == 0
    stage.run(30)
    assert waiting.acquired == 0


class TestLocked:
    """By a file on this host."""

    def test_the_second_waits_names_the_first_and_follows_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        path, stop = tmp_path / "made" / "lock", threading.Event()
        first, second = LockedLeadership(path, "host-1"), LockedLeadership(path, "host-2")
        assert first.acquire(stop)
        assert first.held()
        waiting = threading.Thread(target=second.acquire, args=(stop,))
        waiting.start()
        eventually(lambda: f"host-1 leads by {path}; this process waits" in caplog.messages, "it waits")
        assert not second.held()
        first.release()
        assert not first.held()
        waiting.join(HANDOVER_SECONDS)
        assert second.held()
        assert path.read_text() == "host-2\n"
        second.release()

    def test_the_lock_of_a_killed_process_is_free(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        program = (
            "import sys, threading, time; from pathlib import Path;"
            "from runner.tracker.leadership.leader import LockedLeadership;"
            "other = LockedLeadership(Path(sys.argv[1]), 'other'); other.acquire(threading.Event()); time.sleep(60)"
        )
        other = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=ROOT)
        try:
            eventually(lambda: path.exists() and "other" in path.read_text(), "it leads")
            ours, stop = LockedLeadership(path, "ours"), threading.Event()
            timer = threading.Timer(0.5, stop.set)
            timer.start()
            assert not ours.acquire(stop)
        finally:
            other.kill()
            other.wait()
        assert ours.acquire(threading.Event())
        ours.release()

    def test_a_deleted_file_ends_the_leadership(self, tmp_path: Path) -> None:
        """Another process would make a new file and lock that."""
        path, stop = tmp_path / "lock", threading.Event()
        first = LockedLeadership(path, "host-1")
        assert first.acquire(stop)
        path.unlink()
        assert not first.held()
        second = LockedLeadership(path, "host-2")
        assert second.acquire(stop)
        threading.Timer(0.5, stop.set).start()
        assert not first.acquire(stop)
        second.release()

    def test_a_path_that_cannot_be_used_is_reported_and_tried_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        (tmp_path / "file").write_text("")
        stop = threading.Event()
        threading.Timer(1.5, stop.set).start()
        assert not LockedLeadership(tmp_path / "file" / "lock", "host-1").acquire(stop)
        assert len([message for message in caplog.messages if "cannot be used" in message]) == 1


def test_jobs_that_no_other_process_sees_have_no_election(tmp_path: Path) -> None:
    always = leadership(None, "host-1", accepted_results(), SystemClock(), Random(1), Threads())
    assert always.acquire(threading.Event())
    assert always.held()
    assert isinstance(
        leadership(tmp_path / "lock", "h", accepted_results(), SystemClock(), Random(1), Threads()), LockedLeadership
    )
    store = Store(Record(), World(1).host())
    assert isinstance(
        leadership(store, "h", accepted_results(), SystemClock(), Random(1), Threads()), ElectedLeadership
    )


def test_it_works_with_the_host_s_own_clock_and_threads() -> None:
    record = Record()

    class Direct:
        where = "memory"

        def read(self, _deadline: Deadline) -> LeaderRecord | None:
            return record.now

        def write(self, holder: str, version: str, _: Deadline, accepted: Sequence[str] = ()) -> str | None:
            return record.write(holder, version, accepted)

    stop = threading.Event()
    first, second = (
        leadership(Direct(), name, accepted_results(), SystemClock(), Random(1), Threads()) for name in ("a", "b")
    )
    assert first.acquire(stop)
    waiting = threading.Thread(target=second.acquire, args=(stop,))
    waiting.start()
    eventually(lambda: record.writes >= 2, "it is renewed", 5)
    first.release()
    waiting.join(HANDOVER_SECONDS)
    assert (first.held(), second.held()) == (False, True)
    second.release()


def test_the_holder_s_name_finds_the_process_and_is_unique() -> None:
    names = {holder_name(Random(seed)) for seed in range(100)}
    assert len(names) == 100
    assert all(f"-{os.getpid()}-" in name for name in names)
