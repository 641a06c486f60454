"""The tracker publishes each end that a job cannot publish itself: once if nothing crashes, whatever else fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.config.types import Config
from runner.drivers.driver import SET_ASIDE_SECONDS, LeaderRecord, LeaderStore, Retention, Source
from runner.drivers.list_source import ListSource
from runner.drivers.memory import MemoryDriver
from runner.errors import Rejected, Unavailable
from runner.jobs import Report
from runner.observation import Observation, Outcome
from runner.runtime.clock import Deadline
from runner.tracker.leadership.accepted import MOST_STORED
from runner.tracker.leadership.election import LEASE_SECONDS
from runner.tracker.publisher import NotAccepted
from runner.tracker.steps import EVIDENCE_SECONDS, LOG_LINES, REFUSALS
from runner.tracker.term import CLEANUP_SECONDS, LOGS, LONGEST_PAUSE, MARKS, MARKS_MEANWHILE, QUICK_SECONDS, UNSTORED
from tests.unit.tracker.world import PUBLISHERS, Inbox, World

Sample = Callable[[str], dict[str, Any]]


@pytest.fixture
def world(config: Config) -> World:
    return World(config)


class Scripted(MemoryDriver):
    """Shows what a test says, and keeps what the tracker does."""

    def __init__(self, world: World, *script: list[Observation]) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=world.clock)
        self.script = list(script)
        self.ended: list[Outcome] = []
        self.marked: list[Outcome] = []
        self.finds = 0
        self.events: Callable[[Observation], Observation] = lambda seen: seen
        self.explained = 0

    def list(self) -> Sequence[Observation]:
        shown = self.script[0]
        if len(self.script) > 1:
            self.script.pop(0)
        return shown

    def find(self, seen: Observation) -> Observation | None:
        self.finds += 1
        return next((each for each in self.script[0] if each.name == seen.name), None)

    def explain(self, seen: Observation) -> Observation:
        self.explained += 1
        return self.events(seen)

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        self.ended.append(outcome)
        self.script = [[msgspec.structs.replace(each, ended_as=outcome) for each in self.script[0]]]
        return True

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        self.marked.append(outcome)
        self.script = [[]]
        return True


def waiting(world: World, **facts: Any) -> Observation:
    now = world.clock.wall()
    return Observation(
        name="j", driver="d", pool="p", phase="waiting", created=now, queued_since=now, identity="1", **facts
    )


def changed(seen: Observation, **facts: Any) -> Observation:
    return msgspec.structs.replace(seen, **facts)


def test_a_running_job_is_not_reported(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.start(job.name)
    world.run()

    assert world.inbox.attempts == []
    assert not world.seen(job.name).reported


def test_a_success_is_published_by_the_job_and_marked_by_the_tracker(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    world.run()

    assert world.inbox.accepted == []
    assert world.seen(job.name).reported


def test_a_failure_is_published_with_its_reason_and_evidence(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3, log_tail="cannot open https://u:secret@host/x\n")
    world.run()

    (sent,) = world.inbox.accepted
    kwargs = sent.body["kwargs"]
    assert sent.path == "/api/runner/analysis/results"
    assert sent.body["task"] == "contrib.atlas.tasks.store_analysis_run_result"
    assert kwargs["run_id"] == sample("analysis")["run_id"]
    assert (kwargs["check_seq"], kwargs["analyzer_shortcode"]) == ("1", "python")
    assert kwargs["status"]["code"] == 5107
    assert "exit code 3" in kwargs["status"]["err"]
    assert "secret" not in str(sent.body)
    assert world.seen(job.name).reported


def test_an_end_is_reported_once_if_nothing_crashes(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.run(5000)

    assert len(world.inbox.attempts) == 1


def test_a_result_is_sent_again_with_growing_pauses_until_atlas_accepts_it(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse()
    world.run(300)
    pauses = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(world.inbox.attempts)]
    assert pauses[0] <= 3 < 10 < max(pauses) <= LONGEST_PAUSE + 2
    assert not world.seen(job.name).reported

    world.inbox.accept()
    world.run(60)
    assert world.inbox.codes() == [5107]
    assert world.seen(job.name).reported


def test_all_pending_results_follow_within_a_minute_once_atlas_is_back(world: World, sample: Sample) -> None:
    jobs = [world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{n}"}) for n in range(50)]
    for job in jobs:
        world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse(None)
    world.run(600)
    assert len(world.inbox.attempts) < 200, "an atlas that is down was asked for every result, again and again"

    world.inbox.accept()
    world.run(60)
    assert len(world.inbox.accepted) == len({sent.id for sent in world.inbox.accepted}) == 50


def test_a_result_that_atlas_does_not_answer_delays_no_other(world: World, sample: Sample) -> None:
    slow = world.submit("analysis_run", {**sample("analysis"), "run_id": "slow"})

    def answer(name: str) -> NotAccepted | None:
        if name != slow.name:
            return None
        world.clock.sleep(13)
        return NotAccepted("atlas did not answer", status=None)

    world.inbox.answer = answer
    world.driver.finish(slow.name, main_exit=1)
    world.run()
    for number in range(20):
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{number}"})
        world.driver.finish(job.name, main_exit=1)
        before = len(world.inbox.accepted)
        world.run(2)
        assert len(world.inbox.accepted) == before + 1


def test_no_more_results_are_in_flight_than_the_configuration_allows(world: World, sample: Sample) -> None:
    in_flight, most = 0, 0

    def answer(name: str) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        world.clock.sleep(5)
        in_flight -= 1

    world.inbox.answer = answer
    for number in range(20):
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{number}"})
        world.driver.finish(job.name, main_exit=1)
    world.run(60)

    assert most == PUBLISHERS
    assert len(world.inbox.accepted) == 20


def test_a_result_that_atlas_refuses_for_good_is_set_aside(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse(404)
    world.run(3600)

    assert len(world.inbox.attempts) == REFUSALS
    assert world.seen(job.name).reported
    world.track()
    world.run(SET_ASIDE_SECONDS / 100)
    assert len(world.inbox.attempts) == REFUSALS


def test_a_new_tracker_finds_the_pending_results_and_sends_them_under_the_same_id(world: World, sample: Sample) -> None:
    """A crash between publishing and marking repeats the publishing. Atlas must be able to recognise the repeat."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    mark, world.driver.mark_reported = world.driver.mark_reported, _unavailable  # type: ignore[method-assign]
    world.run(60)
    assert len(world.inbox.accepted) == 1, "a mark that fails is no reason to publish again"
    world.driver.mark_reported = mark  # type: ignore[method-assign]
    world.track()
    world.run()

    assert len(world.inbox.accepted) == 2
    assert len({sent.body["id"] for sent in world.inbox.accepted}) == 1


def _unavailable(*_: Any) -> Any:
    raise Unavailable("no answer")


def test_a_cancel_is_confirmed_under_its_own_run(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.cancel(sample("analysis"))
    world.run()

    (sent,) = world.inbox.accepted
    assert sent.path == "/api/runner/cancel-check/results"
    assert sent.body["task"] == "contrib.atlas.tasks.confirm_check_cancellation"
    assert sent.body["kwargs"]["run_id"] == "cancel-1"
    assert sent.body["kwargs"]["status"]["code"] == 5000
    assert world.seen(job.name).reported


@pytest.mark.parametrize(("main_exit", "codes"), [(0, [5001]), (3, [5107, 5001])])
@pytest.mark.parametrize("reported", [True, False])
def test_a_cancel_after_the_end_is_confirmed_too(
    world: World, sample: Sample, main_exit: int, codes: list[int], reported: bool
) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=main_exit)
    if reported:
        world.run()
    world.cancel(sample("analysis"))
    world.run(20)

    assert world.inbox.codes() == codes
    reason = "analyzer_failed" if main_exit else "succeeded"
    assert world.inbox.accepted[-1].body["kwargs"]["status"]["hmessage"] == f"The run had already ended: {reason}."
    assert world.seen(job.name).reported


def test_a_cancel_while_the_end_is_being_published_is_confirmed(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3)

    def answer(name: str) -> None:
        world.inbox.accept()
        world.cancel(sample("analysis"))

    world.inbox.answer = answer
    world.run(20)

    assert world.inbox.codes() == [5107, 5001]
    assert world.seen(job.name).reported


@pytest.mark.parametrize(("exit_code", "status"), [(0, 0), (10, 10), (13, 13), (137, 5107)])
def test_a_result_of_ssh_verify_is_published_by_the_tracker(world: World, exit_code: int, status: int) -> None:
    document = {"run_id": "v-1", "ssh_meta": {"remote_url": "git@example.org:a/b.git"}, "keys": {}}
    job = world.submit("ssh_verify_run", document)
    world.driver.finish(job.name, main_exit=exit_code)
    world.run()

    (sent,) = world.inbox.accepted
    assert sent.path == "/api/runner/ssh-verify/results"
    assert sent.body["kwargs"] == {"run_id": "v-1", "status": status}


@pytest.mark.parametrize(
    ("request_type", "payload", "members"),
    [
        ("autofix_run", "autofix", {"run_id", "status", "check_seq", "report", "report_object"}),
        ("patcher_run", None, {"run_id", "status", "commit_sha"}),
    ],
)
def test_a_failure_has_the_members_of_its_request_type_s_result(
    world: World, sample: Sample, request_type: str, payload: str | None, members: set[str]
) -> None:
    vcs = {"remote_url": "https://example.org/a.git", "checkout_oid": "a" * 40}
    document = sample(payload) if payload else {"run_id": "p-1", "run_serial": "0", "vcs_meta": vcs}
    job = world.submit(request_type, document)
    world.driver.finish(job.name, main_exit=1)
    world.run()

    assert world.inbox.accepted[0].body["kwargs"].keys() == members


class Unlisted(MemoryDriver):
    """Cannot be listed while `failing`."""

    name = "unlisted"
    failing = True

    def list(self) -> Sequence[Observation]:
        return _unavailable() if self.failing else super().list()


def test_a_driver_that_cannot_list_does_not_stop_the_others(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    world.track(Unlisted(resolve_secrets=lambda _: {}, clock=world.clock), world.driver)
    world.run()

    assert world.seen(job.name).reported


def test_a_source_that_cannot_be_read_is_logged_once_and_again_when_it_works(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Unlisted(resolve_secrets=lambda _: {}, clock=world.clock)
    world.track(driver)
    world.run(600)
    assert [record.levelname for record in caplog.records if "was not read" in record.message] == ["ERROR"]

    driver.failing = False
    world.run(60)
    assert [record.levelname for record in caplog.records if "is read again" in record.message] == ["WARNING"]


def test_a_failed_listing_reports_no_job_as_deleted(world: World, sample: Sample) -> None:
    driver = world.driver = Unlisted(resolve_secrets=lambda _: {}, clock=world.clock)
    world.submit("analysis_run", sample("analysis"))
    for driver.failing in (False, True, False):
        world.run(20)

    assert world.inbox.attempts == []


class Reconciled(MemoryDriver):
    """Records when it is reconciled."""

    def __init__(self, world: World) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=world.clock)
        self.world = world
        self.began = world.clock.monotonic()
        self.calls: list[tuple[float, bool]] = []

    def reconcile(self, expired: Retention | None = None) -> int:
        self.calls.append((self.world.clock.monotonic() - self.began, expired is not None))
        raise Unavailable("no answer")


def test_it_reconciles_all_the_time_and_removes_old_jobs_once_a_minute(world: World) -> None:
    driver = Reconciled(world)
    world.track(driver)
    world.run(2 * CLEANUP_SECONDS + 3)

    assert [at for at, clean in driver.calls if clean] == [CLEANUP_SECONDS, 2 * CLEANUP_SECONDS]
    assert len(driver.calls) > 50


class Unmarkable(MemoryDriver):
    """Its cluster takes no mark. The lock that decides who leads can be broken."""

    def __init__(self, world: World, lock: Path) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=world.clock)
        self.lock = lock
        self.marks = True

    def election(self) -> Path:  # type: ignore[override]
        return self.lock

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        if not self.marks:
            raise Unavailable("no answer")
        return super().mark_reported(seen, outcome)


def test_a_process_that_leads_again_does_not_publish_again_what_it_could_not_mark(
    world: World, sample: Sample, tmp_path: Path
) -> None:
    """An API server that does not answer takes both the leadership and the marks away."""
    driver = world.driver = Unmarkable(world, tmp_path / "lock")
    world.track()
    driver.marks = False
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.run()
    assert world.inbox.codes() == [5107]

    driver.lock.unlink()
    world.run(20)
    driver.marks = True
    world.run(60)
    assert world.inbox.codes() == [5107]
    (known,) = driver.list()
    assert known.reported


def test_a_deleted_job_is_reported(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.run()
    world.driver.lose(job.name)
    world.run()

    (sent,) = world.inbox.accepted
    assert sent.body["kwargs"]["run_id"] == sample("analysis")["run_id"]
    assert sent.body["kwargs"]["status"]["code"] == 5109


def test_two_deletions_of_one_name_are_two_results(world: World, sample: Sample) -> None:
    for _ in range(2):
        job = world.submit("analysis_run", sample("analysis"))
        world.run()
        world.driver.lose(job.name)
        world.run()

    assert world.inbox.codes() == [5109, 5109]
    assert len({sent.body["id"] for sent in world.inbox.accepted}) == 2


def test_a_list_without_the_job_is_no_deletion(world: World) -> None:
    """A stale or partial answer: the job is found by name before anything is published."""
    seen = waiting(world)
    driver = Scripted(world, [seen], [], [seen])
    driver.find = lambda seen: seen  # type: ignore[method-assign]
    world.track(driver)
    world.run(30)

    assert driver.marked == []


def test_an_end_that_atlas_has_not_accepted_is_kept_when_its_job_is_deleted(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse()
    world.run()
    world.driver.lose(job.name)
    world.run()
    world.inbox.accept()
    world.run(60)

    assert world.inbox.codes() == [5107]


def test_a_job_made_anew_while_its_predecessor_s_end_is_published_is_not_marked(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)

    def answer(name: str) -> None:
        world.inbox.accept()
        world.driver.lose(job.name)
        world.submit("analysis_run", sample("analysis"))

    world.inbox.answer = answer
    world.run()
    assert world.inbox.codes() == [5107]
    assert not world.seen(job.name).reported, "the new job is marked before it has run"

    world.driver.finish(job.name, main_exit=1)
    world.run()
    assert world.inbox.codes() == [5107, 5107]
    assert len({sent.body["id"] for sent in world.inbox.accepted}) == 2
    assert world.seen(job.name).reported


def test_a_job_that_another_tracker_has_reported_is_not_reported_as_deleted(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.run()
    world.driver.finish(job.name, main_exit=1)
    seen = world.seen(job.name)
    world.driver.mark_reported(seen, Outcome(reason="analyzer_failed", code=5107, hmessage=""))
    world.run()
    world.driver.lose(job.name)
    world.run()

    assert world.inbox.attempts == []


def test_an_internal_error_for_one_result_does_not_stop_the_others(
    world: World, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    first = world.submit("analysis_run", sample("analysis"))
    second = world.submit("analysis_run", {**sample("analysis"), "run_id": "z"})
    for job in (first, second):
        world.driver.finish(job.name, main_exit=1)
    world.inbox.answer = lambda name: {second.name: None}[name]
    world.run()

    assert not world.seen(first.name).reported
    assert world.seen(second.name).reported
    assert "KeyError" in caplog.text


def test_a_node_that_does_not_answer_delays_no_result_by_more_than_the_budget(world: World, sample: Sample) -> None:
    hanging = {f"analysis-s0-h{number}-1" for number in range(40)}

    class Logs(MemoryDriver):
        def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
            if name in hanging:
                world.clock.sleep(30)
                raise Unavailable("the node does not answer")
            return "the log\n"

    world.driver = Logs(resolve_secrets=lambda _: {}, clock=world.clock)
    world.run()
    began = world.clock.monotonic()
    for run_id in [*(f"h{number}" for number in range(40)), *(f"r{number}" for number in range(10))]:
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": run_id})
        world.driver.finish(job.name, main_exit=1)
    world.run(2 + EVIDENCE_SECONDS)

    assert len(world.inbox.accepted) == 50
    quick = [at - began for at, name in world.inbox.attempts if name not in hanging]
    assert max(quick) <= 1.0 + 3 * QUICK_SECONDS
    logged = [sent for sent in world.inbox.accepted if "the log" in sent.body["kwargs"]["status"]["err"]]
    assert len(logged) == 10


def test_a_job_whose_pod_was_lost_is_not_ended_for_the_time_in_which_it_ran(world: World) -> None:
    """Kubernetes replaces the pod. Until then the job shows only when it was made, which is long ago."""
    first = waiting(world)
    world.clock.advance(700)  # more than limits.queueSeconds
    driver = Scripted(world, [changed(first, phase="running")])
    world.track(driver)
    world.run(10)
    driver.script = [[first]]
    world.run(500)
    assert driver.ended == []
    world.run(150)
    assert [outcome.reason for outcome in driver.ended] == ["unschedulable"]


def test_evidence_that_is_removed_with_the_pod_is_remembered(world: World) -> None:
    """At its deadline Kubernetes deletes a Job's pod, and with it the reason why the pod never ran."""
    first = waiting(world, image_error="ErrImagePull: no")
    ended = changed(first, image_error="", phase="failed", ended=1.0, timed_out=True, disrupted=True)
    driver = Scripted(world, [first], [changed(first, image_error="")], [ended])
    world.track(driver)
    world.run(10)

    assert [outcome.reason for outcome in driver.marked] == ["image_unavailable"]


@pytest.mark.parametrize(
    ("facts", "seconds", "reason"),
    [
        ({"image_error": "ErrImagePull: not found"}, 30, "image_unavailable"),
        ({"image_error": "ErrImagePull: 429", "registry_error": True}, 300, "image_unavailable"),
        ({"configuration_error": "secret missing"}, 30, "misconfigured"),
        ({"unschedulable": "0/3 nodes"}, 600, "unschedulable"),
        ({"incomplete": True}, 600, "misconfigured"),
        ({"not_admitted": "exceeded quota"}, 600, "not_admitted"),
        ({}, 600, "unschedulable"),
        ({"held": "queue batch"}, 3600, "not_admitted"),
    ],
)
def test_a_job_that_waits_too_long_is_ended_and_reported(
    world: World, facts: dict[str, Any], seconds: int, reason: str
) -> None:
    driver = Scripted(world, [waiting(world, **facts)])
    world.track(driver, admission_seconds=3600)
    world.run(seconds - 1)
    assert driver.ended == driver.marked == []

    world.run(15)
    assert [outcome.reason for outcome in driver.ended] == [reason]
    assert [outcome.reason for outcome in driver.marked] == [reason]


def test_a_queue_may_hold_a_job_for_ever_unless_the_configuration_bounds_it(world: World) -> None:
    driver = Scripted(world, [waiting(world, held="queue batch")])
    world.track(driver)
    world.run(10_000)

    assert driver.ended == []


def test_a_job_that_waits_without_a_reason_is_explained_by_the_events(world: World) -> None:
    driver = Scripted(world, [waiting(world)])
    driver.events = lambda seen: changed(seen, configuration_error='secret "artifacts" not found')
    world.track(driver)
    world.run(35)

    assert [outcome.reason for outcome in driver.ended] == ["misconfigured"]
    assert 'secret "artifacts" not found' in driver.ended[0].err


def test_events_that_cannot_be_read_keep_no_job_from_being_ended(world: World) -> None:
    driver = Scripted(world, [waiting(world)])
    driver.events = _unavailable
    world.track(driver)
    world.run(620)

    assert [outcome.reason for outcome in driver.ended] == ["unschedulable"]


def test_what_lingers_after_the_end_is_ended_with_the_outcome(world: World) -> None:
    """A container that a mesh has injected keeps running after the job's own."""
    done = changed(waiting(world), phase="failed", main_exit=3, lingers=True, log_tail="x")
    driver = Scripted(world, [done])
    world.track(driver)
    world.run()

    assert [outcome.reason for outcome in driver.ended] == ["analyzer_failed"]
    assert [outcome.reason for outcome in driver.marked] == ["analyzer_failed"]


def test_an_end_without_evidence_is_read_again_before_it_is_published(world: World) -> None:
    """The Job's end may be seen before its pod's."""
    poor = changed(waiting(world), phase="failed")
    driver = Scripted(world, [poor], [changed(poor, main_exit=3, log_tail="x")])
    world.track(driver)
    world.run(10)

    assert driver.finds == 1
    assert [outcome.reason for outcome in driver.marked] == ["analyzer_failed"]


def test_events_after_the_mark_bring_nothing_back(world: World) -> None:
    """A watch may pass on changes from before the mark."""
    ended = changed(waiting(world), phase="failed", main_exit=3, log_tail="x")

    class Lagging(Scripted):
        def sources(self) -> Sequence[Source]:
            return [ListSource(self, 1.0, listed=lambda: [ended])]

    driver = Lagging(world, [ended])
    world.track(driver)
    world.run(30)

    assert len(driver.marked) == 1


def test_a_log_that_there_is_not_is_no_failure(world: World, sample: Sample) -> None:
    class NoLogs(MemoryDriver):
        def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
            raise Rejected("there is no log")

    world.driver = NoLogs(resolve_secrets=lambda _: {}, clock=world.clock)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.run()

    assert world.inbox.codes() == [5107]


def test_two_trackers_by_accident_publish_under_one_id(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    other = Inbox(world.clock)
    world.driver.mark_reported = _unavailable  # type: ignore[method-assign]
    world.run()
    world.track(inbox=other)
    world.run()

    assert {sent.id for sent in world.inbox.accepted} == {sent.id for sent in other.accepted}


def test_the_status_says_who_leads_what_is_pending_and_which_source_is_stale(world: World, sample: Sample) -> None:
    driver = Unlisted(resolve_secrets=lambda _: {}, clock=world.clock)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refuse()
    world.track(driver, world.driver)
    world.run(90)
    unlisted, memory = world.statuses[-1].values()

    assert (unlisted["leads"], unlisted["stale"], unlisted["pending"]) == (True, ["unlisted list"], 0)
    assert (memory["leads"], memory["stale"], memory["pending"]) == (True, [], 1)
    assert unlisted["heard_seconds_ago"] > 80 > 3 > memory["heard_seconds_ago"]


def test_a_cancel_while_a_limit_could_not_be_stored_is_confirmed_as_a_cancel(world: World) -> None:
    """The job was not ended yet, so it had not already ended when it was cancelled."""
    report = Report(request_type="cancel_check_run", run_id="c", path="/cancelled", task="t", scope="s")
    waits = waiting(world, image_error="ErrImagePull: not found")
    cancelled = changed(waits, cancelled=True, cancellation=report, phase="failed")
    driver = Scripted(world, [waits])
    driver.end = _unavailable  # type: ignore[method-assign]
    world.track(driver)
    world.run(40)
    driver.script = [[cancelled]]
    world.run(40)

    assert world.inbox.codes() == [5000]


def test_a_limit_that_could_not_be_stored_is_judged_again_when_the_job_has_left_the_view(world: World) -> None:
    waits = waiting(world, image_error="ErrImagePull: not found")
    driver = Scripted(world, [waits])
    driver.end = _unavailable  # type: ignore[method-assign]
    driver.find = lambda seen: changed(waits, image_error="", phase="running")  # type: ignore[method-assign]
    world.track(driver)
    world.run(40)
    driver.script = [[]]
    world.run(40)

    assert (driver.marked, world.inbox.attempts) == ([], [])


def test_results_go_without_their_logs_once_every_log_reader_waits(world: World, sample: Sample) -> None:
    class Logs(MemoryDriver):
        def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
            world.clock.sleep(30)
            raise Unavailable("the node does not answer")

    world.driver = Logs(resolve_secrets=lambda _: {}, clock=world.clock)
    world.run()
    for number in range(LOGS + 20):
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{number}"})
        world.driver.finish(job.name, main_exit=1)
    world.run(2 + 2 * EVIDENCE_SECONDS)

    assert len(world.inbox.accepted) == LOGS + 20


def test_a_reading_from_before_a_cancel_does_not_hide_it(world: World) -> None:
    """The job was marked, read by name and then cancelled; the watch shows the cancel before the reading arrives."""
    report = Report(request_type="cancel_check_run", run_id="c", path="/cancelled", task="t", scope="s")
    ended = changed(waiting(world), phase="failed", main_exit=3, log_tail="x")
    outcome = Outcome(reason="analyzer_failed", code=5107, hmessage="")
    cancelled = changed(ended, cancelled=True, cancellation=report, ended_as=outcome, published="analyzer_failed")

    class Racing(Scripted):
        refused = False

        def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
            if not self.refused:
                self.refused = True  # the answer to the mark was lost, and its repeat is refused
                return False
            return super().mark_reported(seen, outcome)

        def find(self, seen: Observation) -> Observation | None:
            self.finds += 1
            if self.finds > 1:
                return cancelled
            self.script = [[cancelled]]
            world.clock.sleep(3)
            return changed(ended, reported=True, published="analyzer_failed")

    driver = Racing(world, [ended])
    world.track(driver)
    world.run(30)

    assert [outcome.code for outcome in driver.marked] == [5001]
    assert world.inbox.accepted[-1].path == "/cancelled"


def test_a_job_that_was_completed_while_it_could_not_be_ended_is_not_ended(world: World) -> None:
    waits = waiting(world, incomplete=True)
    driver = Scripted(world, [waits])
    end, driver.end = driver.end, _unavailable  # type: ignore[method-assign]
    driver.find = lambda seen: changed(waits, incomplete=False, phase="running")  # type: ignore[method-assign]
    world.track(driver)
    world.run(610)
    driver.script = [[changed(waits, incomplete=False, phase="running")]]
    driver.end = end  # type: ignore[method-assign]
    world.run(60)

    assert (driver.ended, world.inbox.attempts) == ([], [])


def test_a_key_whose_first_line_is_not_shown_is_masked(world: World, sample: Sample) -> None:
    """Of the key, only its last line is within what is shown, and its end was never printed."""
    body = [f"{number:02}" + "aB3+" * 15 for number in range(60)]
    printed = ["-----BEGIN PRIVATE KEY-----", *body, *(f"line {number}" for number in range(LOG_LINES - 1))]

    class Logs(MemoryDriver):
        def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
            return "".join(f"{line}\n" for line in printed[-lines:])

    world.driver = Logs(resolve_secrets=lambda _: {}, clock=world.clock)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.run()

    (sent,) = world.inbox.accepted
    assert "aB3+" not in str(sent.body)
    assert "last lines of the log" in sent.body["kwargs"]["status"]["err"]


def test_a_lookup_that_fails_while_the_job_changes_is_repeated(world: World) -> None:
    failed = changed(waiting(world), phase="failed")

    class Failing(Scripted):
        def find(self, seen: Observation) -> Observation | None:
            self.finds += 1
            if self.finds == 1:
                self.script = [[changed(failed, message="evicted")]]
                world.clock.sleep(5)
                raise Unavailable("the API server does not answer")
            return super().find(seen)

    driver = Failing(world, [failed])
    world.track(driver)
    world.run(60)

    assert [outcome.code for outcome in driver.marked] == [5199]


def test_marks_give_way_while_every_publisher_is_busy(world: World, sample: Sample) -> None:
    marking, most, meanwhile, count = 0, 0, 0, PUBLISHERS * 4

    class Slow(MemoryDriver):
        def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
            nonlocal marking, most, meanwhile
            marking += 1
            most = max(most, marking)
            if len(world.inbox.accepted) < count - PUBLISHERS:
                meanwhile = most
            world.clock.sleep(0.3)
            marking -= 1
            return super().mark_reported(seen, outcome)

    world.driver = Slow(resolve_secrets=lambda _: {}, clock=world.clock)
    world.inbox.answer = lambda name: world.clock.sleep(0.2)
    for number in range(count):
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{number}"})
        world.driver.finish(job.name, main_exit=1)
    world.run(8)

    assert all(seen.reported for seen in world.driver.list())
    assert (meanwhile, most) == (MARKS_MEANWHILE, MARKS)


class SlowMarks(MemoryDriver):
    """Each mark takes 0.02 s."""

    def __init__(self, world: World) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=world.clock)
        self._time = world.clock

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        self._time.sleep(0.02)
        return super().mark_reported(seen, outcome)


def _failed_jobs(world: World, sample: Sample, count: int) -> None:
    for number in range(count):
        job = world.submit("analysis_run", {**sample("analysis"), "run_id": f"r{number}"})
        world.driver.finish(job.name, main_exit=1)


def test_no_more_results_are_accepted_and_not_marked_than_can_be_stored(world: World, sample: Sample) -> None:
    unmarked = []

    def answer(_name: str) -> None:
        world.clock.sleep(0.04)
        unmarked.append(len(world.inbox.accepted) - sum(seen.reported for seen in world.driver.list()))

    world.driver, world.inbox.answer = SlowMarks(world), answer
    _failed_jobs(world, sample, 900)
    world.run(60)

    assert all(seen.reported for seen in world.driver.list())
    assert MOST_STORED / 2 < max(unmarked) < MOST_STORED


class ElectedDriver(SlowMarks):
    """Its trackers agree by a record. While `refusing`, no mark is made."""

    where = "memory"
    refusing, writable = True, True
    record: LeaderRecord | None = None

    def election(self) -> LeaderStore:
        return self

    def read(self, _: Deadline) -> LeaderRecord | None:
        return self.record

    def write(self, holder: str, version: str, _: Deadline, accepted: Sequence[str] = ()) -> str | None:
        if not self.writable:
            raise Unavailable("no answer")
        if version != (self.record.version if self.record else ""):
            return None
        self.record = LeaderRecord(holder, f"{version}+", tuple(accepted))
        return self.record.version

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        if self.refusing:
            raise Unavailable("no answer")
        return super().mark_reported(seen, outcome)


def test_few_results_are_published_while_neither_the_record_nor_a_mark_can_be_written(
    world: World, sample: Sample
) -> None:
    world.driver = driver = ElectedDriver(world)
    world.inbox.answer = lambda _: world.clock.sleep(0.05)
    _failed_jobs(world, sample, 200)
    world.run(0.01)
    assert driver.record is not None
    holder, driver.writable = driver.record.holder, False
    world.run(LEASE_SECONDS / 2)
    assert 0 < len(world.inbox.accepted) <= UNSTORED + PUBLISHERS
    assert driver.record.holder == holder

    driver.writable = True
    world.run(30)
    assert len(world.inbox.accepted) == 200


def test_a_successor_marks_what_its_predecessor_has_published_and_could_not_mark(world: World, sample: Sample) -> None:
    world.driver = driver = ElectedDriver(world)
    _failed_jobs(world, sample, 60)
    world.run(10)
    assert len(world.inbox.accepted) == 60
    assert not any(seen.reported for seen in driver.list())

    driver.refusing = False
    world.track()
    world.run(10)
    assert all(seen.reported for seen in driver.list())
    assert len(world.inbox.accepted) == 60


def test_a_successor_publishes_again_what_is_not_in_the_record(world: World, sample: Sample) -> None:
    world.driver = driver = ElectedDriver(world)
    _failed_jobs(world, sample, 60)
    world.run(10)
    world.kill()
    assert driver.record is not None
    driver.record = driver.record._replace(accepted=driver.record.accepted[:50])

    driver.refusing = False
    world.track()
    world.run(10)
    assert len(world.inbox.accepted) == 70
    assert len({sent.id for sent in world.inbox.accepted}) == 60


def test_a_result_that_is_asked_for_again_is_published_although_it_is_in_the_record(
    world: World, sample: Sample
) -> None:
    world.driver = driver = ElectedDriver(world)
    driver.refusing = False
    _failed_jobs(world, sample, 1)
    world.run(10)
    (seen,) = driver.list()
    world.kill()
    assert driver.record is not None
    driver.record = driver.record._replace(accepted=(world.inbox.accepted[0].id,))
    assert driver.resend(seen)

    world.track()
    world.run(10)
    first, second = world.inbox.accepted
    assert first.id == second.id


def test_a_tracker_that_stops_marks_what_atlas_has_accepted_and_publishes_nothing_more(
    world: World, sample: Sample
) -> None:
    world.driver, world.inbox.answer = SlowMarks(world), lambda _: world.clock.sleep(0.02)
    _failed_jobs(world, sample, 60)
    world.run(0.1)
    accepted = len(world.inbox.accepted)
    assert sum(seen.reported for seen in world.driver.list()) < accepted
    world.kill()

    assert accepted <= len(world.inbox.accepted) <= accepted + PUBLISHERS
    assert sum(seen.reported for seen in world.driver.list()) == len(world.inbox.accepted)
