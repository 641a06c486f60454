"""The sources and guards of the driver on a real Nomad."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from runner.drivers.driver import LeaderRecord, Source
from runner.drivers.nomad.driver import NomadDriver
from runner.drivers.nomad.source import RESYNC_SECONDS, JobSource
from runner.errors import OrchestratorError, Rejected
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from tests.conformance.jobs import Program, cancellation, job, new_name
from tests.harness.deadlines import within
from tests.harness.processes import eventually
from tests.nomad.access import Nomad
from tests.nomad.seen import last, outcome, until

FAILED = Outcome(reason="analyzer_failed", code=5107, hmessage="The analyzer ended with an error.")


class TimedView:
    """Keeps the last observation of each job, and when each phase of it was first shown."""

    def __init__(self) -> None:
        self.jobs: dict[str, Observation] = {}
        self.times: dict[tuple[str, str], float] = {}
        self.listings = 0

    def replace(self, place: str, listed: Iterable[Observation]) -> None:
        for each in listed:
            self.update(each)
        self.listings += 1

    def update(self, seen: Observation) -> None:
        self.jobs[seen.name] = seen
        self.times.setdefault((seen.name, seen.phase), time.time())

    def left(self, seen: Observation) -> None:
        self.jobs.pop(seen.name, None)

    def alive(self) -> None:
        pass


@pytest.fixture
def view(driver: NomadDriver) -> Iterator[TimedView]:
    """A view that the driver's sources keep up to date."""
    made, stop = TimedView(), threading.Event()

    def follow(source: Source) -> None:
        while not stop.is_set():
            with suppress(OrchestratorError):
                source.follow(made)
            stop.wait(source.pause)

    for source in driver.sources():
        threading.Thread(target=follow, args=(source,), daemon=True).start()
    eventually(lambda: made.listings, "the first listing")
    yield made
    stop.set()


def test_an_end_is_shown_within_a_second(driver: NomadDriver, view: TimedView) -> None:
    wanted = job("shell", "sleep 2; date +%s.%N; exit 3")
    driver.submit(wanted, within(10))
    seen = eventually(lambda: (each := view.jobs.get(wanted.name)) and classify(each) and each, "its end is shown")
    ended = float(eventually(lambda: driver.logs(wanted.name), "its log is complete"))
    late = view.times[wanted.name, "failed"] - ended
    assert (seen.main_exit, seen.place) == (3, driver._namespaces[0].name)
    assert late < 1, f"shown after {late:.2f} s"
    assert (wanted.name, "running") in view.times
    assert view.listings == 1


def test_a_tombstone_and_a_mark_are_shown_within_seconds(driver: NomadDriver, view: TimedView) -> None:
    name, began = new_name(), time.monotonic()
    driver.cancel(cancellation(name), within(10), tombstone=True)
    seen = eventually(lambda: view.jobs.get(name), "the tombstone is shown")
    assert seen.cancelled
    assert driver.mark_reported(seen, msgspec.structs.replace(FAILED, reason="cancelled"))
    eventually(lambda: name not in view.jobs, "the reported job has left")
    assert time.monotonic() - began < RESYNC_SECONDS / 2
    assert view.listings == 1


def test_a_cancel_after_the_end_is_shown_with_that_end(driver: NomadDriver, view: TimedView) -> None:
    wanted = job("shell", Program(exit_code=3))
    driver.submit(wanted, within(10))
    seen = eventually(lambda: (each := view.jobs.get(wanted.name)) and classify(each) and each, "its end is shown")
    assert driver.mark_reported(seen, FAILED)
    eventually(lambda: wanted.name not in view.jobs, "the reported job has left")
    assert driver.cancel(cancellation(wanted.name), within(10), tombstone=True) == "exists"
    again = eventually(lambda: (each := view.jobs.get(wanted.name)) and each.cancelled and each, "the cancel is shown")
    assert again.ended_as is not None
    assert (again.identity, again.published, again.ended_as.code) == (seen.identity, "analyzer_failed", 5107)
    assert classify(again).code == 5001  # type: ignore[union-attr]
    assert driver.mark_reported(seen, FAILED) is False


def test_a_job_made_anew_is_not_marked_by_the_report_of_its_predecessor(nomad: Nomad, driver: NomadDriver) -> None:
    wanted = job("shell", Program(exit_code=3))
    driver.submit(wanted, within(10))
    ended = outcome(driver, wanted.name)
    seen = last(driver, wanted.name)
    nomad.purge(wanted.name)
    nomad.delete(f"var/nomad/jobs/{wanted.name}")
    driver.submit(wanted, within(10))

    assert driver.mark_reported(seen, ended) is False
    assert driver.set_aside(seen, ended) is False
    assert driver.end(seen, ended) is False
    again = until(driver, wanted.name, classify)
    assert again.identity != seen.identity
    assert driver.mark_reported(again, ended)


def test_of_twenty_writers_of_the_leader_s_variable_one_wins(
    driver: NomadDriver, make_driver: Callable[..., NomadDriver]
) -> None:
    stores = [make_driver().election() for _ in range(20)]
    for _ in range(3):
        known = stores[0].read(within(10))
        start = threading.Barrier(20)

        def write(number: int, version: str = known[1] if known else "", start: threading.Barrier = start) -> bool:
            start.wait()
            return stores[number].write(f"tracker-{number}", version, within(10)) is not None

        with ThreadPoolExecutor(20) as writers:
            won = [number for number, each in enumerate(writers.map(write, range(20))) if each]
        assert len(won) == 1
        holder, version, _ = stores[0].read(within(10)) or LeaderRecord("", "")
        assert holder == f"tracker-{won[0]}"
        assert stores[0].write("", version, within(10))  # released


def test_a_token_without_read_job_is_refused_the_stream_and_the_listing_names_it(
    nomad: Nomad, driver: NomadDriver, caplog: pytest.LogCaptureFixture
) -> None:
    nomad.allow_all_but("read-job")
    source = driver.sources()[0]
    assert isinstance(source, JobSource)
    began = time.monotonic()
    with pytest.raises(Rejected, match="lacks read-job"):
        source.follow(TimedView())
    assert time.monotonic() - began < 5
    assert "the event stream is refused" in caplog.text
    nomad.allow(_policy())
    assert source._stream_refusal() == ""


def _policy() -> str:
    from tests.nomad.access import POLICY

    return POLICY.read_text()
