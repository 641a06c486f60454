"""The tracker tells atlas of every end that a job cannot tell itself, once at least, and for as long as it takes."""

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
from runner.drivers.driver import Driver
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
from runner.tracker.tracker import LONGEST_PAUSE, ROUND_SECONDS, Publisher, Tracker
from tests.clock import ManualClock
from tests.conftest import KeyPair
from tests.deadlines import within
from tests.rounds import observed

Sample = Callable[[str], dict[str, Any]]


class Inbox:
    """What atlas would have got; refuses while `refusing`."""

    def __init__(self) -> None:
        self.taken: list[Result] = []
        self.tries = 0
        self.refusing = False

    def publish(self, name: str, result: Result) -> None:
        self.tries += 1
        if self.refusing:
            raise Unavailable("atlas answered 500")
        self.taken.append(result)

    def codes(self) -> list[int]:
        """Of the failures, in the order in which they were taken."""
        return [sent.body["kwargs"]["status"]["code"] for sent in self.taken]


class World:
    """A memory driver, a tracker over it, and a clock that a test moves."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = ManualClock()
        self.inbox = Inbox()
        self.driver = MemoryDriver(resolve_secrets=lambda _: {}, clock=self.clock)
        self.tracker = self.another()

    def another(self, drivers: Mapping[str, Driver] | None = None, publisher: Publisher | None = None) -> Tracker:
        """A tracker that starts anew, by default over the same driver and to the same atlas."""
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


def test_a_running_job_is_let_be(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.start(job.name)
    world.tracker.round()

    assert world.inbox.tries == 0
    assert not world.reported(job.name)


def test_a_success_is_the_jobs_own_to_publish_and_is_marked(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    world.tracker.round()

    assert world.inbox.taken == []
    assert world.reported(job.name)


def test_a_failure_is_published_with_its_reason_and_evidence(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=3, log_tail="cannot open https://u:secret@host/x\n")
    world.tracker.round()

    (sent,) = world.inbox.taken
    kwargs = sent.body["kwargs"]
    assert sent.path == "/api/runner/analysis/results"
    assert sent.body["task"] == "contrib.atlas.tasks.store_analysis_run_result"
    assert kwargs["run_id"] == sample("analysis")["run_id"]
    assert (kwargs["check_seq"], kwargs["analyzer_shortcode"]) == ("1", "python")
    assert kwargs["status"]["code"] == 5107
    assert "exit code 3" in kwargs["status"]["err"]
    assert "secret" not in json.dumps(sent.body)
    assert world.reported(job.name)


def test_a_result_is_sent_again_until_atlas_takes_it_with_growing_pauses(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    tried_at = []
    while len(tried_at) < 12:
        before = world.inbox.tries
        world.tracker.round()
        if world.inbox.tries > before:
            tried_at.append(world.clock.monotonic())
        world.clock.advance(1)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
    assert pauses[0] < 10 < pauses[-1] <= LONGEST_PAUSE + 1
    assert not world.reported(job.name)

    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()
    assert len(world.inbox.taken) == 1
    assert world.reported(job.name)


def test_an_end_is_reported_once_while_nothing_crashes(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    for _ in range(5):
        world.clock.advance(1000)
        world.tracker.round()

    assert world.inbox.tries == 1


def test_a_tracker_that_starts_anew_finds_what_is_owed(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    world.inbox.refusing = True
    world.tracker.round()

    inbox = Inbox()
    world.another(publisher=inbox).round()

    assert len(inbox.taken) == 1


def test_a_result_sent_twice_has_one_id(world: World, sample: Sample) -> None:
    """A crash between publishing and marking repeats the publishing: atlas must be able to tell."""
    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name, main_exit=1)
    ids = set()
    for _ in range(2):
        inbox = Inbox()
        world.another({"memory": Forgetful(world.driver)}, inbox).round()
        ids.add(inbox.taken[0].body["id"])

    assert len(ids) == 1


class Forgetful:
    """A driver whose mark is lost, as by a crash just before it."""

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

    (sent,) = world.inbox.taken
    assert sent.path == "/api/runner/cancel-check/results"
    assert sent.body["task"] == "contrib.atlas.tasks.confirm_check_cancellation"
    assert sent.body["kwargs"]["run_id"] == "cancel-1"
    assert sent.body["kwargs"]["status"]["code"] == 5000
    assert world.reported(job.name)


@pytest.mark.parametrize(("exit_code", "status"), [(0, 0), (10, 10), (13, 13), (137, 5107)])
def test_what_ssh_verify_found_is_published_by_us(world: World, exit_code: int, status: int) -> None:
    document = {"run_id": "v-1", "ssh_meta": {"remote_url": "git@example.org:a/b.git"}, "keys": {}}
    job = world.submit("ssh_verify_run", document)
    world.driver.finish(job.name, main_exit=exit_code)
    world.tracker.round()

    (sent,) = world.inbox.taken
    assert sent.path == "/api/runner/ssh-verify/results"
    assert sent.body["kwargs"] == {"run_id": "v-1", "status": status}


@pytest.mark.parametrize(
    ("request_type", "payload", "members"),
    [
        ("autofix_run", "autofix", {"run_id", "status", "check_seq", "report", "report_object"}),
        ("patcher_run", None, {"run_id", "status", "commit_sha"}),
    ],
)
def test_a_failure_has_the_members_of_its_types_own_result(
    world: World, sample: Sample, request_type: str, payload: str | None, members: set[str]
) -> None:
    vcs = {"remote_url": "https://example.org/a.git", "checkout_oid": "a" * 40}
    document = sample(payload) if payload else {"run_id": "p-1", "run_serial": "0", "vcs_meta": vcs}
    job = world.submit(request_type, document)
    world.driver.finish(job.name, main_exit=1)
    world.tracker.round()

    assert world.inbox.taken[0].body["kwargs"].keys() == members


def test_a_driver_that_cannot_be_seen_does_not_stop_the_others(world: World, sample: Sample) -> None:
    class Blind(MemoryDriver):
        def list(self) -> Sequence[Observation]:
            raise Unavailable("no answer")

    job = world.submit("analysis_run", sample("analysis"))
    world.driver.finish(job.name)
    drivers = {"blind": Blind(resolve_secrets=lambda _: {}, clock=world.clock), "memory": world.driver}
    world.another(drivers).round()

    assert world.reported(job.name)


def test_evidence_that_goes_with_the_pod_is_remembered(world: World) -> None:
    """Kubernetes deletes the pod of a Job whose time is up, and with it why the pod never ran."""
    waiting = Observation(name="j", driver="d", pool="p", phase="waiting", created=0, image_error="ErrImagePull: no")
    out_of_sight = Observation(name="j", driver="d", pool="p", phase="waiting", created=0)
    ended = Observation(name="j", driver="d", pool="p", phase="failed", created=0, ended=1, timed_out=True)
    told: list[Outcome] = []

    class Scripted(MemoryDriver):
        script = [[waiting], [out_of_sight], [ended]]

        def list(self) -> Sequence[Observation]:
            return self.script.pop(0)

        def mark_reported(self, name: str, outcome: Outcome) -> None:
            told.append(outcome)

    tracker = world.another({"d": Scripted(resolve_secrets=lambda _: {}, clock=world.clock)})
    for _ in range(3):
        tracker.round()

    assert told[0].reason == "image_unavailable"


def deleted_while_atlas_refuses(world: World, sample: Sample) -> JobSpec:
    """A job that was seen, and then missed."""
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    world.inbox.refusing = True
    world.tracker.round()
    return job


def test_a_job_that_somebody_deletes_is_told_of(world: World, sample: Sample) -> None:
    deleted_while_atlas_refuses(world, sample)
    world.inbox.refusing = False
    for _ in range(3):
        world.clock.advance(LONGEST_PAUSE)
        world.tracker.round()

    (sent,) = world.inbox.taken
    assert sent.body["kwargs"]["run_id"] == sample("analysis")["run_id"]
    assert sent.body["kwargs"]["status"]["code"] == 5109


def test_an_end_that_atlas_has_not_taken_is_kept_when_its_job_is_deleted(world: World, sample: Sample) -> None:
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


def test_a_deleted_job_that_is_asked_for_again_is_followed_to_its_own_end(world: World, sample: Sample) -> None:
    """What was owed of the first is not told, and does not pass for the second's end."""
    job = deleted_while_atlas_refuses(world, sample)
    world.submit("analysis_run", sample("analysis"))
    world.inbox.refusing = False
    world.clock.advance(LONGEST_PAUSE)
    world.tracker.round()
    assert world.inbox.taken == []
    assert not world.reported(job.name)

    world.driver.finish(job.name, main_exit=1)
    world.tracker.round()
    assert world.inbox.codes() == [5107]
    assert world.reported(job.name)


def test_a_job_made_anew_while_the_deletion_is_told_is_not_marked(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    take = world.inbox.publish

    def publish(name: str, result: Result) -> None:
        world.submit("analysis_run", sample("analysis"))
        take(name, result)

    world.inbox.publish = publish  # type: ignore[method-assign]
    world.tracker.round()

    assert world.inbox.codes() == [5109]
    assert not world.reported(job.name)


def test_a_deleted_job_s_successor_is_told_of_in_its_place_even_where_it_has_ended_already(
    world: World, sample: Sample
) -> None:
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
def test_what_is_owed_is_not_told_of_what_has_taken_its_place(world: World, sample: Sample, again: str) -> None:
    """Deleted and asked for again between two looks; or cancelled, after it was told of as deleted."""
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

    assert [sent.path for sent in world.inbox.taken] == (["/cancelled"] if again == "cancelled" else [])
    assert world.reported(job.name) == (again == "cancelled")


def test_whoever_has_not_looked_for_as_long_as_ends_are_kept_does_not_say_deleted(world: World, sample: Sample) -> None:
    """Another tracker may have told of them meanwhile."""
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.lose(job.name)
    world.clock.advance(1)
    world.tracker.round()

    assert world.inbox.tries == 0


def test_what_another_tracker_has_told_is_not_missed_when_it_goes(world: World, sample: Sample) -> None:
    job = world.submit("analysis_run", sample("analysis"))
    world.tracker.round()
    world.driver.finish(job.name, main_exit=1)
    world.another(publisher=Inbox()).round()
    world.tracker.round()
    world.driver.lose(job.name)
    world.tracker.round()

    assert world.inbox.tries == 0


def test_jobs_are_not_taken_for_deleted_where_not_all_could_be_seen(world: World, sample: Sample) -> None:
    class Flaky(MemoryDriver):
        blind = False

        def list(self) -> Sequence[Observation]:
            if self.blind:
                raise Unavailable("no answer")
            return super().list()

    world.driver = Flaky(resolve_secrets=lambda _: {}, clock=world.clock)
    world.submit("analysis_run", sample("analysis"))
    tracker = world.another()
    for world.driver.blind in (False, True, False):
        tracker.round()

    assert world.inbox.tries == 0


def test_one_end_that_cannot_be_told_for_a_reason_of_ours_does_not_stop_the_others(
    world: World, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    first = world.submit("analysis_run", sample("analysis"))
    second = world.submit("analysis_run", {**sample("analysis"), "run_id": "z"})
    take, broken = world.inbox.publish, first.name

    def publish(name: str, result: Result) -> None:
        if name == broken:
            raise ZeroDivisionError
        take(name, result)

    world.inbox.publish = publish  # type: ignore[method-assign]
    for job in (first, second):
        world.driver.finish(job.name, main_exit=1)
    world.tracker.round()

    assert not world.reported(first.name)
    assert world.reported(second.name)
    assert "ZeroDivisionError" in caplog.text


def test_an_atlas_that_hangs_keeps_nobody_from_looking_or_from_being_told(world: World, sample: Sample) -> None:
    """Each result takes as long as the round may; who has waited longest comes first, so everyone has their turn."""
    names = []
    for run_id in "abc":
        names.append(world.submit("analysis_run", {**sample("analysis"), "run_id": run_id}).name)
        world.driver.finish(names[-1], main_exit=1)
    tried: list[str] = []

    def publish(name: str, result: Result) -> None:
        tried.append(name)
        world.clock.advance(ROUND_SECONDS + 1)
        raise Unavailable("atlas did not answer")

    world.inbox.publish = publish  # type: ignore[method-assign]
    for _ in names:
        world.tracker.round()

    assert sorted(tried) == names


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
    """Answers with the status that the server holds; remembers what came."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.came.append((self.path, self.headers["Authorization"], json.loads(body)))
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
    server.status, server.came = 200, []
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
def test_any_2xx_is_taken(atlas: Any, publisher: HttpPublisher, runner_keys: KeyPair, status: int) -> None:
    atlas.status = status
    publisher.publish("job-1", RESULT)

    ((path, authorization, body),) = atlas.came
    assert (path, body) == (RESULT.path, {"id": "1"})
    claims = jwt.decode(
        authorization.removeprefix("Bearer "), runner_keys.public, algorithms=["RS256"], options={"verify_exp": False}
    )
    assert (claims["run_id"], claims["scp"], claims["iss"]) == ("r-1", "analysis.*", "runner-1")


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_anything_else_is_not(atlas: Any, publisher: HttpPublisher, status: int) -> None:
    atlas.status = status
    with pytest.raises(Unavailable, match=str(status)):
        publisher.publish("job-1", RESULT)
    assert len(atlas.came) == 1, "a redirect was followed, with the token"


def test_nobody_listening_is_not_taken(runner_keys: KeyPair) -> None:
    signer = Signer(runner_keys.private, "runner-1", lambda: 0)
    with pytest.raises(Unavailable, match="did not answer"):
        HttpPublisher(
            "http://127.0.0.1:1", signer.sign, http=CurlHttpClient(SystemClock()), clock=SystemClock()
        ).publish("job-1", RESULT)


def test_a_try_is_bounded_as_a_whole_and_signed_anew(runner_keys: KeyPair) -> None:
    """An atlas that sends a byte now and then would keep the tracker for ever."""
    clock, tries = ManualClock(), []

    class Silent:
        def request(self, route: Route, method: str, path: str, deadline: Deadline, **given: Any) -> HttpResponse:
            tries.append((method, route.url + path, given["headers"][0]))
            assert (deadline.left, route.silence_seconds) == (PUBLISH_SECONDS, SILENCE_SECONDS)
            clock.advance(deadline.left)
            raise Unsettled("atlas did not answer")

    signer = Signer(runner_keys.private, "runner-1", clock.wall)
    publisher = HttpPublisher("https://atlas.example", signer.sign, http=Silent(), clock=clock)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"did not answer at https://atlas\.example/api"):
            publisher.publish("job-1", RESULT)
    (first, second) = tries
    assert first[:2] == second[:2] == ("POST", f"https://atlas.example{RESULT.path}")
    assert first[2] != second[2]


def test_a_job_without_a_report_owes_nothing() -> None:
    seen = Observation(name="j", driver="d", pool="p", phase="failed", created=0, ended=1)
    assert result(seen, Outcome(reason="unknown", code=5199, hmessage="")) is None


def test_results_are_plain_json() -> None:
    assert msgspec.json.encode(RESULT.body)
