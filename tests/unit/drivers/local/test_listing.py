"""What a round of the local driver reads: what has changed, and nothing of a job that is settled."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from runner.drivers.driver import Retention
from runner.drivers.local import files, record
from runner.drivers.local.decisions import Decisions
from runner.drivers.local.listing import FRESH_SECONDS, RESYNC_SECONDS, JobListing
from runner.drivers.local.reconciler import Reconciler
from runner.drivers.local.record import JobFile, Records, StoredJob
from runner.drivers.local.shims import Shims
from runner.observation import Observation, Outcome
from tests.conformance import jobs
from tests.harness.clock import ManualClock

DONE = Outcome(reason="succeeded", code=0, hmessage="The run finished.")
LONG_AGO = 1_000_000_000.0


class CountedRecords(Records):
    """Counts how often each job is read."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.reads: Counter[str] = Counter()

    def readable(self, name: str) -> StoredJob | None:
        self.reads[name] += 1
        return super().readable(name)


class Jobs:
    """A directory whose jobs the test writes, and a listing of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        files.prepare(self.directory)
        self.clock = ManualClock(LONG_AGO + 10 * FRESH_SECONDS)
        self.records = CountedRecords(self.directory)
        self.listing = JobListing(self.directory, self.records, self._observe, self.clock)
        self.decisions = Decisions(self.records, self.clock)
        self.age()

    def _observe(self, stored: StoredJob) -> Observation:
        return record.observation(stored, "local", "")

    def add(self, name: str, *, nonce: str = "") -> None:
        file = JobFile(name=name, created=1.0, boot="", monotonic=1.0, queue_seconds=1, nonce=nonce or files.token())
        assert files.make(self.directory, name, {files.JOB: msgspec.json.encode(file)})
        self.age()

    def end(self, name: str, *, reported: bool = False) -> None:
        files.end(self.path(name), self.clock.wall(), phase="succeeded")
        if reported:
            (seen,) = [self._observe(stored) for stored in [self.records.read(name)] if stored]
            assert self.decisions.mark(seen, DONE)
        self.age(name)

    def age(self, *names: str, to: float = LONG_AGO) -> None:
        """Give each directory another time of its last change, long before the clock's."""
        for name in names or ("", *os.listdir(self.directory)):
            path = self.path(name)
            os.utime(path, (to, to + (len(os.listdir(path)) if os.path.isdir(path) else 0) / 100))

    def path(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def pending(self) -> list[str]:
        return [each.stored.job.name for each in self.listing.pending()]

    def read(self) -> Counter[str]:
        """What one call reads."""
        self.records.reads.clear()
        self.listing.pending()
        return self.records.reads


@pytest.fixture
def kept(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs")


def test_only_jobs_that_are_not_reported_are_pending(kept: Jobs) -> None:
    for name in ("ended", "reported", "waiting"):
        kept.add(name)
    kept.end("ended")
    kept.end("reported", reported=True)
    for _ in range(3):
        assert kept.pending() == ["ended", "waiting"]


def test_a_settled_job_is_read_once_and_a_pending_one_when_it_has_changed(kept: Jobs) -> None:
    for name in ("reported", "waiting"):
        kept.add(name)
    kept.end("reported", reported=True)
    assert kept.read() == {"reported": 1, "waiting": 1}
    assert kept.read() == {}
    files.write(kept.path("waiting", files.BEGUN), {"at": 1.0})
    kept.age("waiting")
    assert kept.read() == {"waiting": 1}
    assert kept.listing.pending()[0].seen.phase == "running"
    kept.add("new")
    assert kept.read() == {"new": 1}
    kept.end("waiting", reported=True)
    assert kept.read() == {"waiting": 1}
    assert kept.read() == {}


def test_a_directory_that_has_just_changed_is_read_again_even_if_its_time_is_the_same(kept: Jobs) -> None:
    kept.add("job")
    now = kept.clock.wall() - FRESH_SECONDS / 2
    kept.age("job", to=now)
    before = os.stat(kept.path("job"))
    assert kept.listing.pending()[0].seen.phase == "waiting"
    files.write(kept.path("job", files.BEGUN), {"at": 1.0})
    os.utime(kept.path("job"), ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert kept.listing.pending()[0].seen.phase == "running"


def test_a_settled_job_whose_result_is_asked_for_again_is_pending_at_once(kept: Jobs) -> None:
    kept.add("job")
    kept.end("job", reported=True)
    (seen,) = [kept._observe(stored) for stored in [kept.records.read("job")] if stored]
    assert kept.pending() == []
    assert kept.decisions.resend(seen)
    assert kept.pending() == ["job"]
    (pending,) = kept.listing.pending()
    assert (pending.seen.reported, pending.seen.resent) == (False, 1)
    assert not kept.decisions.mark(seen, DONE)
    assert kept.decisions.mark(pending.seen, DONE)
    kept.age("job", to=LONG_AGO + 50)
    assert kept.pending() == []


def test_a_settled_job_that_is_cancelled_is_pending_at_once(kept: Jobs) -> None:
    kept.add("job")
    kept.end("job", reported=True)
    assert kept.pending() == []
    assert kept.decisions.cancel(jobs.cancellation("job")) == "exists"
    assert kept.pending() == ["job"]
    (pending,) = kept.listing.pending()
    assert (pending.seen.published, pending.seen.reported) == ("succeeded", False)
    assert kept.decisions.mark(pending.seen, DONE)
    assert kept.pending() == []


def test_everything_is_read_again_after_a_while(kept: Jobs) -> None:
    """The canceller may have been killed before it touched the file that announces the cancellation."""
    kept.add("job")
    kept.end("job", reported=True)
    assert kept.pending() == []
    late = msgspec.to_builtins(record.VerdictFile(jobs.cancellation("job").report))
    files.write_once(kept.path("job", files.CANCELLED), late)
    kept.age("job")
    assert kept.pending() == []
    kept.clock.advance(RESYNC_SECONDS)
    assert kept.pending() == ["job"]


def test_a_failed_read_does_not_put_off_reading_everything_again(kept: Jobs) -> None:
    for name in ("a", "broken"):
        kept.add(name)
    kept.end("a", reported=True)
    assert kept.pending() == ["broken"]
    late = msgspec.to_builtins(record.VerdictFile(jobs.cancellation("a").report))
    files.write_once(kept.path("a", files.CANCELLED), late)
    os.symlink("/proc/self/mem", kept.path("broken", files.END))
    kept.age("a", "broken")
    kept.clock.advance(RESYNC_SECONDS)
    with pytest.raises(OSError, match="Input/output error"):
        kept.listing.pending()
    os.unlink(kept.path("broken", files.END))
    kept.age("broken")
    assert kept.pending() == ["a", "broken"]


def test_a_job_that_reconcile_has_removed_is_forgotten(kept: Jobs) -> None:
    kept.add("job")
    kept.end("job", reported=True)
    shims = Shims(kept.directory, 1, "/bin/false")
    reconciler = Reconciler(kept.directory, kept.records, kept.listing, shims, kept.clock)
    assert reconciler.run(Retention(reported=60, orphaned=10**9)) == 0
    assert repr(kept.listing) == "JobListing(0 pending, 1 settled)"
    assert reconciler.run(Retention(reported=0, orphaned=10**9)) == 1
    assert repr(kept.listing) == "JobListing(0 pending, 0 settled)"


def test_after_a_read_failed_nothing_is_missed(kept: Jobs) -> None:
    kept.add("a")
    assert kept.pending() == ["a"]
    kept.add("b")
    kept.add("c")
    os.symlink("/proc/self/mem", kept.path("b", files.END))  # reading it at offset 0 is an I/O error
    with pytest.raises(OSError, match="Input/output error"):
        kept.listing.pending()
    os.unlink(kept.path("b", files.END))
    kept.age()
    assert kept.pending() == ["a", "b", "c"]


def test_a_name_that_is_used_again_is_pending_even_with_the_same_inode(kept: Jobs) -> None:
    kept.add("job")
    kept.end("job", reported=True)
    assert kept.pending() == []
    expired = Retention(reported=0, orphaned=10**9)
    assert kept.listing.is_kept("job", kept.clock.wall(), Retention(reported=60, orphaned=0))
    assert not kept.listing.is_kept("job", kept.clock.wall(), expired)
    kept.listing.forget("job")  # as the reconciler does
    for file in (files.VERDICT, files.END, files.REPORTED):
        os.unlink(kept.path("job", file))
    kept.age()
    os.utime(kept.directory, (1, 1))
    assert kept.pending() == ["job"]


def test_a_name_that_is_used_again_after_a_removal_by_hand_is_pending(kept: Jobs) -> None:
    kept.add("job")
    kept.end("job", reported=True)
    assert kept.pending() == []
    os.rename(kept.path("job"), kept.path(".gone-job"))
    kept.add("job")
    assert kept.pending() == ["job"]


class ReplacingRecords(Records):
    """Replaces the job by another of its name right after it was read, once."""

    def __init__(self, directory: str, replace: bool = True) -> None:
        super().__init__(directory)
        self.replace = replace

    def read(self, name: str, path: str = "") -> StoredJob | None:
        stored = super().read(name, path)
        if self.replace:
            self.replace = False
            os.rename(self.path(name), self.path(f".gone-{name}"))
            file = JobFile(name=name, created=2.0, boot="", monotonic=1.0, queue_seconds=1, nonce="second")
            assert files.make(self._directory, name, {files.JOB: msgspec.json.encode(file)})
        return stored


@pytest.mark.parametrize("decision", ["mark", "set aside", "end", "cancel"])
def test_a_decision_never_reaches_a_job_that_took_the_name_meanwhile(kept: Jobs, decision: str) -> None:
    kept.add("job", nonce="first")
    if decision != "end":
        files.end(kept.path("job"), 1.0, phase="succeeded")
    (first,) = [each.seen for each in kept.listing.pending()]
    decisions = Decisions(ReplacingRecords(kept.directory), kept.clock)
    if decision == "end":
        decisions.end(first, DONE)
    elif decision == "cancel":
        decisions.cancel(jobs.cancellation("job"))
    else:
        decisions.mark(first, DONE, "422" if decision == "set aside" else None)
    assert sorted(os.listdir(kept.path("job"))) == ["job.json", "lock"]
    second = Records(kept.directory).read("job")
    assert second is not None
    assert (second.job.identity, second.phase) == ("second", "waiting")


def test_how_many_run_is_known_without_another_round(tmp_path: Path) -> None:
    """Each waiting job asks for it, and there may be thousands."""
    known = Jobs(tmp_path)
    known.add("a")
    assert known.listing.running() == 0
    reads = known.records.reads.total()
    assert known.listing.running() == 0
    assert known.records.reads.total() == reads
