"""The tracker publishes each end that a job cannot publish itself, at least once, and retries until atlas accepts."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import jwt
import msgspec
import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver, Retention
from runner.drivers.http.client import HttpResponse, Route, Unsettled
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.memory import MemoryDriver
from runner.errors import Unavailable
from runner.jobs import Cancellation, JobSpec, Report
from runner.observation import Observation, Outcome
from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES
from runner.runtime.clock import Deadline, SystemClock
from runner.security.tokens import Signer
from runner.tracker.leader import only_one
from runner.tracker.publisher import PUBLISH_SECONDS, SILENCE_SECONDS, HttpPublisher
from runner.tracker.results import Result, result
from runner.tracker.tracker import CLEANUP_SECONDS, LONGEST_PAUSE, ROUND_SECONDS, Publisher, Tracker
from tests.conftest import KeyPair
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.rounds import observed

Sample = Callable[[str], dict[str, Any]]


class Inbox:
    """A publisher that keeps the results; it raises while `refusing`."""

    def __init__(self) -> None:
        self.accepted: list[Result] = []
        self.attempts = 0
        self.refusing = False

    def publish(self, name: str, result: Result) -> None:
        self.attempts += 1
        if self.refusing:
            raise Unavailable("atlas answered 500")
        self.accepted.append(result)

    def codes(self) -> list[int]:
        """The status codes of the accepted results, in order."""
        return [sent.body["kwargs"]["status"]["code"] for sent in self.accepted]


class World:
    """A memory driver, a tracker over it, and a clock that a test moves."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = ManualClock()
        self.inbox = Inbox()
        self.driver = MemoryDriver(resolve_secrets=lambda _: {}, clock=self.clock)
        self.tracker = self.another()

    def another(self, drivers: Mapping[str, Driver] | None = None, publisher: Publisher | None = None) -> Tracker:
        """A new tracker, by default with the same driver and the same inbox."""
        drivers, publisher = drivers or {"memory": self.driver}, publisher or self.inbox
        return Tracker(drivers, publisher, retention=1, orphan_age=1, clock=self.clock, random=Random(1))

    def submit(self, request_type: str, document: dict[str, Any]) -> JobSpec:
        policy = RequestPolicy(runner_id="", public_key="")
        request = decode(json.dumps(document).encode(), REQUEST_TYPES[request_type].payload, policy)
        (job,) = plan(request, self.config)
        assert isinstance(job, JobSpec)
        self.driver.submit(job, within(5))
        return job

    def reported(self, name: str) -> bool:
        return next(seen for seen in observed(self.driver) if seen.name == name).reported


@pytest.fixture
def world(config: Config) -> World:
    return World(config)


def test_a_running_job_is_not_reported(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.start(job.name)
    world.tracker.round()

    assert world.inbox.attempts == 0
    assert not world.reported(job.name)


def test_a_success_is_published_by_the_job_and_marked_by_the_tracker(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    world.tracker.round()

    assert world.inbox.accepted == []
    assert world.reported(job.name)


def test_a_failure_is_published_with_its_reason_and_evidence(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3, log_tail="cannot open https://u:secret@host/x\n")
    world.tracker.round()

    (sent,) = world.inbox.accepted
    kwargs = sent.body["kwargs"]
    assert sent.path == "/api/runner/analysis/results"
    assert sent.body["task"] == "contrib.atlas.tasks.store_analysis_run_result"
    assert kwargs["run_id"] == sample("analysis")["run_id"]
    assert (kwargs["check_seq"], kwargs["analyzer_shortcode"]) == ("1", "python")
    assert kwargs["status"]["code"] == 5107
    assert "exit code 3" in kwargs["status"]["err"]
    assert "secret" not in json.dumps(sent.body)
    assert world.reported(job.name)


def test_a_result_is_sent_again_with_growing_pauses_until_atlas_accepts_it(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    attempted_at = []
    while len(attempted_at) < 12:
        before = world.inbox.attempts
        world.tracker.round()
        if world.inbox.attempts > before:
            attempted_at.append(world.clock.monotonic())
        world.clock.advance(1)
    pauses = [later - earlier for earlier, later in itertools.pairwise(attempted_at)]
    assert pauses[0] < 10 < pauses[-1] <= LONGEST_PAUSE + 1
    assert not world.reported(job.name)

    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()
    assert len(world.inbox.accepted) == 1
    assert world.reported(job.name)


def test_an_end_is_reported_once_if_nothing_crashes(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    for _ in range(5):
        world.clock.advance(1000)
        world.tracker.round()

    assert world.inbox.attempts == 1


def test_a_new_tracker_finds_the_pending_results(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    world.tracker.round()

    inbox = Inbox()
    world.another(publisher=inbox).round()

    assert len(inbox.accepted) == 1


def test_a_result_sent_twice_has_one_id(world: World, sample: Sample) -> None:
    """A crash between publishing and marking repeats the publishing. atlas must be able to recognise the repeat."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    ids = set()
    for _ in range(2):
        inbox = Inbox()
        world.another({"memory": Forgetful(world.driver)}, inbox).round()
        ids.add(inbox.accepted[0].body["id"])

    assert len(ids) == 1


class Forgetful:
    """A driver that never marks a job, as if the tracker crashed just before."""

    name = "memory"

    def __init__(self, inner: MemoryDriver) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        pass


def test_a_cancel_is_confirmed_under_its_own_run(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    document = {"run_id": "cancel-1", "analysis_meta": {"run_id": sample("analysis")["run_id"], "run_serial": "0", "check_seq": "1"}}  # fmt: skip  # noqa: E501
    request = decode(
        json.dumps(document).encode(),
        REQUEST_TYPES["cancel_check_run"].payload,
        RequestPolicy(runner_id="", public_key=""),
    )
    (cancellation,) = plan(request, world.config)
    assert isinstance(cancellation, Cancellation)
    world.driver.cancel(cancellation, within(5), tombstone=True)
    world.tracker.round()

    (sent,) = world.inbox.accepted
    assert sent.path == "/api/runner/cancel-check/results"
    assert sent.body["task"] == "contrib.atlas.tasks.confirm_check_cancellation"
    assert sent.body["kwargs"]["run_id"] == "cancel-1"
    assert sent.body["kwargs"]["status"]["code"] == 5000
    assert world.reported(job.name)


@pytest.mark.parametrize(("exit_code", "status"), [(0, 0), (10, 10), (13, 13), (137, 5107)])
def test_a_result_of_ssh_verify_is_published_by_the_tracker(world: World, exit_code: int, status: int) -> None:
    document = {"run_id": "v-1", "ssh_meta": {"remote_url": "git@example.org:a/b.git"}, "keys": {}}
    job = world.submit("ssh_verify_run", document)
    world.driver.finish(job.name, main_exit=exit_code)
    world.tracker.round()

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
    world.tracker.round()

    assert world.inbox.accepted[0].body["kwargs"].keys() == members


def test_a_driver_that_cannot_list_does_not_stop_the_others(world: World, sample: Sample) -> None:
    class Failing(MemoryDriver):
        def list(self) -> Sequence[Observation]:
            raise Unavailable("no answer")

    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    drivers = {"failing": Failing(resolve_secrets=lambda _: {}, clock=world.clock), "memory": world.driver}
    world.another(drivers).round()

    assert world.reported(job.name)


class Recorder(MemoryDriver):
    """Records the order of the calls."""

    def __init__(self, world: World) -> None:
        super().__init__(resolve_secrets=lambda _: {}, clock=world.clock)
        self.used: list[str] = []

    def list(self) -> Sequence[Observation]:
        self.used.append("list")
        return super().list()

    def reconcile(self, expired: Retention | None = None) -> int:
        self.used.append("remove old jobs" if expired else "reconcile")
        return super().reconcile(expired)

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        self.used.append("mark")
        super().mark_reported(name, outcome)


def test_a_round_reconciles_before_it_lists_and_removes_old_jobs_after_their_ends_are_reported(
    world: World, sample: Sample
) -> None:
    """A tracker that starts after a long pause finds unreported ends that are older than the orphan age."""
    driver = world.driver = Recorder(world)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.clock.advance(10**6)

    world.another({"memory": driver}).round()

    assert driver.used == ["reconcile", "list", "mark", "remove old jobs"]
    assert world.inbox.codes() == [5107]


def test_every_round_reconciles_and_old_jobs_are_removed_once_a_minute(world: World) -> None:
    driver = Recorder(world)
    tracker = world.another({"memory": driver})
    for _ in range(4):
        tracker.round()
        world.clock.advance(CLEANUP_SECONDS / 3)

    assert driver.used == ["reconcile", "list", "remove old jobs", *["reconcile", "list"] * 3, "remove old jobs"]


def test_a_driver_that_cannot_reconcile_is_still_listed(world: World, sample: Sample) -> None:
    class Idle(MemoryDriver):
        def reconcile(self, expired: Retention | None = None) -> int:
            raise Unavailable("no answer")

    world.driver = Idle(resolve_secrets=lambda _: {}, clock=world.clock)
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.another({"memory": world.driver}).round()

    assert world.inbox.codes() == [5107]


def test_evidence_that_is_removed_with_the_pod_is_remembered(world: World) -> None:
    """At its deadline Kubernetes deletes a Job's pod, and with it the reason why the pod never ran."""
    waiting = Observation(name="j", driver="d", pool="p", phase="waiting", created=0, image_error="ErrImagePull: no")
    without_evidence = Observation(name="j", driver="d", pool="p", phase="waiting", created=0)
    ended = Observation(name="j", driver="d", pool="p", phase="failed", created=0, ended=1, timed_out=True)
    marked: list[Outcome] = []

    class Scripted(MemoryDriver):
        script = [[waiting], [without_evidence], [ended]]

        def list(self) -> Sequence[Observation]:
            return self.script.pop(0)

        def mark_reported(self, name: str, outcome: Outcome) -> None:
            marked.append(outcome)

    tracker = world.another({"d": Scripted(resolve_secrets=lambda _: {}, clock=world.clock)})
    for _ in range(3):
        tracker.round()

    assert marked[0].reason == "image_unavailable"


def deleted_while_atlas_refuses(world: World, sample: Sample) -> JobSpec:
    """A job that was listed, and then deleted."""
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    world.inbox.refusing = True
    world.tracker.round()
    return job


def test_a_deleted_job_is_reported(world: World, sample: Sample) -> None:
    deleted_while_atlas_refuses(world, sample)
    world.inbox.refusing = False
    for _ in range(3):
        world.clock.advance(LONGEST_PAUSE)
        world.tracker.round()

    (sent,) = world.inbox.accepted
    assert sent.body["kwargs"]["run_id"] == sample("analysis")["run_id"]
    assert sent.body["kwargs"]["status"]["code"] == 5109


def test_an_end_that_atlas_has_not_accepted_is_kept_when_its_job_is_deleted(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    world.tracker.round()
    world.driver.lose(job.name)
    world.tracker.round()
    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()

    assert world.inbox.codes() == [5107]


def test_a_deleted_job_that_is_submitted_again_is_followed_to_its_own_end(world: World, sample: Sample) -> None:
    """The pending result of the first job is not published, and does not count as the end of the second."""
    job = deleted_while_atlas_refuses(world, sample)
    world.submit("analysis_run", sample("analysis"))
    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()
    assert world.inbox.accepted == []
    assert not world.reported(job.name)

    world.driver.finish(job.name, main_exit=1)
    world.tracker.round()
    assert world.inbox.codes() == [5107]
    assert world.reported(job.name)


def test_a_job_submitted_again_while_its_deletion_is_published_is_not_marked(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    accept = world.inbox.publish

    def publish(name: str, result: Result) -> None:
        world.submit("analysis_run", sample("analysis"))
        accept(name, result)

    world.inbox.publish = publish  # type: ignore[method-assign]
    world.tracker.round()

    assert world.inbox.codes() == [5109]
    assert not world.reported(job.name)


def test_a_deleted_job_s_successor_that_has_ended_is_reported_instead(world: World, sample: Sample) -> None:
    job = deleted_while_atlas_refuses(world, sample)
    world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = False
    for _ in range(3):
        world.clock.advance(LONGEST_PAUSE)
        world.tracker.round()

    assert world.inbox.codes() == [5107]
    assert world.reported(job.name)


@pytest.mark.parametrize("again", ["running", "cancelled"])
def test_a_pending_result_is_not_published_for_the_job_that_replaced_its_own(
    world: World, sample: Sample, again: str
) -> None:
    """The first job was deleted and submitted again between two listings; or the second was cancelled as well."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    world.tracker.round()
    world.driver.lose(job.name)
    world.submit("analysis_run", sample("analysis"))
    if again == "cancelled":
        report = Report(request_type="cancel_check_run", run_id="c", path="/cancelled", task="t", scope="s")
        cancellation = Cancellation(name=job.name, labels={}, report=report)
        assert world.driver.cancel(cancellation, within(5), tombstone=False) == "cancelled"
    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()

    assert [sent.path for sent in world.inbox.accepted] == (["/cancelled"] if again == "cancelled" else [])
    assert world.reported(job.name) == (again == "cancelled")


def test_after_a_pause_as_long_as_the_retention_a_missing_job_is_not_reported_as_deleted(
    world: World, sample: Sample
) -> None:
    """Another tracker may have reported it meanwhile."""
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    world.clock.advance(1)
    world.tracker.round()

    assert world.inbox.attempts == 0


def test_a_job_that_another_tracker_has_reported_is_not_reported_as_deleted(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.finish(job.name, main_exit=1)
    world.another(publisher=Inbox()).round()
    world.tracker.round()
    world.driver.lose(job.name)
    world.tracker.round()

    assert world.inbox.attempts == 0


def test_a_failed_listing_reports_no_job_as_deleted(world: World, sample: Sample) -> None:
    class Flaky(MemoryDriver):
        failing = False

        def list(self) -> Sequence[Observation]:
            if self.failing:
                raise Unavailable("no answer")
            return super().list()

    world.driver = Flaky(resolve_secrets=lambda _: {}, clock=world.clock)
    world.submit("analysis_run", sample("analysis"))
    tracker = world.another()
    for world.driver.failing in (False, True, False):
        tracker.round()

    assert world.inbox.attempts == 0


def test_an_internal_error_for_one_result_does_not_stop_the_others(
    world: World, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    first = world.submit("analysis_run", sample("analysis"))
    second = world.submit("analysis_run", {**sample("analysis"), "run_id": "z"})
    accept, broken = world.inbox.publish, first.name

    def publish(name: str, result: Result) -> None:
        if name == broken:
            raise ZeroDivisionError
        accept(name, result)

    world.inbox.publish = publish  # type: ignore[method-assign]
    for job in (first, second):
        world.driver.finish(job.name, main_exit=1)
    world.tracker.round()

    assert not world.reported(first.name)
    assert world.reported(second.name)
    assert "ZeroDivisionError" in caplog.text


def test_a_hanging_atlas_does_not_stop_the_rounds_and_every_result_is_attempted(world: World, sample: Sample) -> None:
    """Each attempt takes as long as a round may. The longest waiting comes first, so each result is attempted."""
    names = []
    for run_id in "abc":
        names.append(world.submit("analysis_run", {**sample("analysis"), "run_id": run_id}).name)
        world.driver.finish(names[-1], main_exit=1)
    attempted: list[str] = []

    def publish(name: str, result: Result) -> None:
        attempted.append(name)
        world.clock.advance(ROUND_SECONDS + 1)
        raise Unavailable("atlas did not answer")

    world.inbox.publish = publish  # type: ignore[method-assign]
    for _ in names:
        world.tracker.round()

    assert sorted(attempted) == names


def test_a_second_tracker_on_the_host_waits_for_the_first(tmp_path: Any) -> None:
    stop = threading.Event()
    begun = threading.Event()

    def second() -> None:
        with only_one(tmp_path / "lock", stop):
            begun.set()

    with only_one(tmp_path / "lock", stop):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not begun.wait(0.3)
    assert begun.wait(5)
    waiting.join()


class Atlas(BaseHTTPRequestHandler):
    """Answers with the server's `status`, and records each request in its `received`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.received.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(server.status)
        if server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def atlas() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Atlas)
    server.status, server.received = 200, []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publisher(atlas: Any, runner_keys: KeyPair) -> HttpPublisher:
    signer = Signer(runner_keys.private, "runner-1", lambda: 1_700_000_000)
    return HttpPublisher(
        f"http://127.0.0.1:{atlas.server_address[1]}",
        signer.sign,
        http=CurlHttpClient(SystemClock()),
        clock=SystemClock(),
    )


RESULT = Result(path="/api/runner/analysis/results", scope="analysis.*", run_id="r-1", body={"id": "1"})


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_success(atlas: Any, publisher: HttpPublisher, runner_keys: KeyPair, status: int) -> None:
    atlas.status = status
    publisher.publish("job-1", RESULT)

    ((path, authorization, body),) = atlas.received
    assert (path, body) == (RESULT.path, {"id": "1"})
    claims = jwt.decode(
        authorization.removeprefix("Bearer "), runner_keys.public, algorithms=["RS256"], options={"verify_exp": False}
    )
    assert (claims["run_id"], claims["scp"], claims["iss"]) == ("r-1", "analysis.*", "runner-1")


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_any_other_status_is_unavailable(atlas: Any, publisher: HttpPublisher, status: int) -> None:
    atlas.status = status
    with pytest.raises(Unavailable, match=str(status)):
        publisher.publish("job-1", RESULT)
    assert len(atlas.received) == 1, "a redirect was followed, with the token"


def test_a_refused_connection_is_unavailable(runner_keys: KeyPair) -> None:
    signer = Signer(runner_keys.private, "runner-1", lambda: 0)
    with pytest.raises(Unavailable, match="did not answer"):
        HttpPublisher(
            "http://127.0.0.1:1", signer.sign, http=CurlHttpClient(SystemClock()), clock=SystemClock()
        ).publish("job-1", RESULT)


def test_an_attempt_has_one_deadline_and_a_new_token(runner_keys: KeyPair) -> None:
    """An atlas that sends a byte now and then would otherwise block the tracker without limit."""
    clock, attempts = ManualClock(), []

    class Silent:
        def request(self, route: Route, method: str, path: str, deadline: Deadline, **given: Any) -> HttpResponse:
            attempts.append((method, route.url + path, given["headers"][0]))
            assert (deadline.left, route.silence_seconds) == (PUBLISH_SECONDS, SILENCE_SECONDS)
            clock.advance(deadline.left)
            raise Unsettled("atlas did not answer")

    signer = Signer(runner_keys.private, "runner-1", clock.wall)
    publisher = HttpPublisher("https://atlas.example", signer.sign, http=Silent(), clock=clock)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"did not answer at https://atlas\.example/api"):
            publisher.publish("job-1", RESULT)
    (first, second) = attempts
    assert first[:2] == second[:2] == ("POST", f"https://atlas.example{RESULT.path}")
    assert first[2] != second[2]


def test_a_job_without_a_report_has_no_result() -> None:
    seen = Observation(name="j", driver="d", pool="p", phase="failed", created=0, ended=1)
    assert result(seen, Outcome(reason="unknown", code=5199, hmessage="")) is None


def test_results_are_plain_json() -> None:
    assert msgspec.json.encode(RESULT.body)
