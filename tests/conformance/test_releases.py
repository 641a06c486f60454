"""The current code reads and finishes the state that an earlier release has written to clusters and directories.

Each test runs for every release in `tests/releases` and every driver whose state outlives its process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tests.releases
from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver, Retention
from runner.errors import Conflict
from runner.jobs import Cancellation, JobSpec, Report
from runner.observation import Observation
from runner.outcomes import classify
from runner.payloads import RequestPolicy, decode
from runner.request_types import REQUEST_TYPES
from runner.tracker.results import Result
from tests.conformance.clusters import PATIENCE, Cluster
from tests.harness.deadlines import within
from tests.harness.processes import eventually
from tests.harness.rounds import observed
from tests.harness.tracking import track_for, track_until
from tests.releases import RELEASES, State
from tests.releases.places import Place
from tests.releases.places.local import HOUR, LocalPlace
from tests.unit import documents

pytestmark = [pytest.mark.needs("shares"), pytest.mark.parametrize("release", RELEASES)]

KEPT = (
    *("phase", "pool", "report", "fingerprint", "cancelled", "cancellation", "reported"),
    *("timed_out", "out_of_memory", "disrupted", "init_exit", "main_exit"),
)
"""The fields of an observation that every release lists alike for the same state. The others are times and texts."""

CHANGES = {
    "analysis_run": "/vcs_meta/checkout_oid",
    "autofix_run": "/vcs_meta/checkout_oid",
    "transformer_run": "/vcs_meta/checkout_oid",
    "ssh_verify_run": "/ssh_meta/user",
    "patcher_run": "/vcs_meta/checkout_oid",
}
"""By request type: a place in the request. Another value there makes a different job of the same name."""


# The part of the driver's interface that these tests use.


def listed(driver: Driver) -> dict[str, Observation]:
    return {each.name: each for each in observed(driver)}


def reconcile(driver: Driver) -> None:
    """Call the driver's reconcile, then list."""
    observed(driver)


def submit(driver: Driver, job: JobSpec) -> str:
    return driver.submit(job, within(PATIENCE))


def cancel(driver: Driver, cancellation: Cancellation) -> str | None:
    return driver.cancel(cancellation, within(PATIENCE), tombstone=True)


def action(request_type: str, document: Mapping[str, Any], config: Config) -> Any:
    """The one action that the current code plans for a recorded request."""
    policy = RequestPolicy(runner_id="runner-1", public_key="")
    (planned,) = plan(decode(json.dumps(document).encode(), REQUEST_TYPES[request_type].payload, policy), config)
    return planned


class Publisher:
    """A publisher whose results are all accepted, and kept."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, Any]] = []

    def publish(self, name: str, result: Result) -> None:
        self.accepted.append((name, msgspec.to_builtins(result)))


@pytest.fixture
def place(release: str, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Place]:
    if not (Path(tests.releases.__file__).parent / release / f"{cluster.driver.name}.json").exists():
        pytest.skip(f"release {release} had no driver {cluster.driver.name}")
    module = import_module(f"tests.releases.places.{cluster.driver.name}")
    made: Place = module.place(release, cluster, request)
    yield made
    made.close()


def planned(state: State, config: Config, *, changed: bool = False) -> JobSpec:
    """The job that the current code plans for the recorded request, or for a changed request of the same name."""
    request_type, document = state["request"]["request_type"], state["request"]["document"]
    if changed:
        documents.put(document, CHANGES[request_type], "0123abc")
    job = action(request_type, document, config)
    assert (job.name, isinstance(job, JobSpec)) == (state["job"], True)
    found: JobSpec = job
    return found


def cancellation(state: State, config: Config) -> Cancellation:
    found: Cancellation = action("cancel_check_run", state["request"]["cancellation"], config)
    assert found.name == state["job"]
    return found


def kept(seen: Observation | None) -> dict[str, Any]:
    return {name: value for name, value in (msgspec.to_builtins(seen) or {}).items() if name in KEPT}


def recorded(observation: dict[str, Any]) -> dict[str, Any]:
    """What an earlier release listed. A field that a report has only since then has its default."""
    now = {name: observation[name] for name in KEPT}
    for name in ("report", "cancellation"):
        now[name] = msgspec.to_builtins(msgspec.convert(now[name], Report | None))
    return now


def await_as_recorded(driver: Driver, place: Place) -> None:
    """Wait until every complete state is listed as the earlier release listed it."""
    wanted = {place.states[state]["job"]: recorded(place.states[state]["observation"]) for state in place.whole}
    differing: dict[str, Any] = {}

    def same() -> bool:
        found = listed(driver)
        differing.clear()
        differing.update((name, kept(found.get(name))) for name in wanted if kept(found.get(name)) != wanted[name])
        return not differing

    try:
        eventually(same, "all states are listed as recorded", 60)
    except AssertionError as error:
        expected = {name: wanted[name] for name in differing}
        raise AssertionError(f"listed {differing}, recorded {expected}") from error


def without_evidence(result: Mapping[str, Any]) -> Any:
    """A result without its id and its evidence, which contains texts of the cluster and the log.

    Release 0.1 knew no kinds and no traces.
    """
    bare = json.loads(json.dumps(result))
    assert not bare.pop("traceparent")
    for name in ("id", "kind"):
        bare.pop(name, None)
        bare["body"].pop(name, None)
    if isinstance(status := bare["body"]["kwargs"]["status"], dict):
        status.pop("err")
    return bare


def test_every_state_is_listed_as_recorded(cluster: Cluster, place: Place) -> None:
    place.put(*place.whole)
    await_as_recorded(cluster.driver, place)
    assert set(listed(cluster.another())) == {place.states[state]["job"] for state in place.whole}


def test_a_repeat_of_its_request_finds_the_job_and_a_changed_request_is_a_conflict(
    cluster: Cluster, place: Place, config: Config
) -> None:
    place.put(*place.whole)
    for name in place.whole:
        state = place.states[name]
        if state["observation"]["cancelled"]:
            assert submit(cluster.driver, planned(state, config)) == "cancelled", name
            assert submit(cluster.driver, planned(state, config, changed=True)) == "cancelled", name
        else:
            assert submit(cluster.driver, planned(state, config)) == "exists", name
            with pytest.raises(Conflict, match=state["job"]):
                submit(cluster.driver, planned(state, config, changed=True))


def test_a_cancel_stops_waiting_and_running_jobs(cluster: Cluster, place: Place, config: Config) -> None:
    stopped = ("waiting-analysis", "running")
    place.put(*stopped)
    cluster.running(planned(place.states["running"], config))
    for name in stopped:
        assert cancel(cluster.driver, cancellation(place.states[name], config)) == "cancelled"
    if isinstance(place, LocalPlace):
        _end_as_the_shim_would(place, cancellation(place.states["running"], config))
    for name in stopped:
        state = place.states[name]
        seen = cluster.ended(state["job"])
        assert seen.cancellation == cancellation(state, config).report
        outcome = classify(seen)
        assert outcome is not None
        assert outcome.reason == "cancelled"
        assert submit(cluster.driver, planned(state, config)) == "cancelled"


def _end_as_the_shim_would(place: LocalPlace, cancelled: Cancellation) -> None:
    """A shim of the earlier release waits for verdict.json and then ends its job."""
    verdict = json.loads(place.path(f"{cancelled.name}/verdict.json").read_bytes())
    assert verdict == {"cancellation": msgspec.to_builtins(cancelled.report)}
    place.end_as("running", "cancelled-running")


def test_a_tombstone_refuses_a_later_submit_and_accepts_another_cancel(
    cluster: Cluster, place: Place, config: Config
) -> None:
    tombstones = ("tombstone", "reported-tombstone")
    place.put(*tombstones)
    for name in tombstones:
        state = place.states[name]
        assert cancel(cluster.driver, cancellation(state, config)) == "cancelled"
        assert submit(cluster.driver, planned(state, config)) == "cancelled"
        assert listed(cluster.driver)[state["job"]].main_exit is None


def test_each_pending_result_is_published_once_as_the_earlier_release_would(cluster: Cluster, place: Place) -> None:
    """Only the id is another: since then it names the job's identity, so that two jobs of one name differ."""
    place.put(*place.whole)
    await_as_recorded(cluster.driver, place)
    publisher = Publisher()
    pending = {state["job"]: state["result"] for state in place.states.values() if state["result"]}
    track_until(cluster.driver, publisher, lambda: all(listed(cluster.driver)[name].reported for name in pending))
    track_for(cluster.another(), publisher)

    assert sorted(name for name, _ in publisher.accepted) == sorted(pending)
    for name, result in publisher.accepted:
        assert without_evidence(result) == without_evidence({**pending[name], "traceparent": ""})
    seen = listed(cluster.driver)
    for name in place.whole:
        state = place.states[name]
        assert seen[state["job"]].reported == (state["observation"]["phase"] in ("succeeded", "failed"))


def test_an_incomplete_job_is_completed_by_a_repeat_and_runs_to_its_end(
    cluster: Cluster, place: Place, config: Config
) -> None:
    place.put("half-made")
    place.free()
    # A job that is created now gets a program that the cluster has; a job that exists runs its own.
    job = msgspec.structs.replace(planned(place.states["half-made"], config), init=None, main=cluster.job().main)
    assert submit(cluster.driver, job) == ("exists" if cluster.driver.name == "kubernetes" else "created")
    assert classify(cluster.ended(job.name)) is not None
    assert cluster.seen(job.name).phase == "succeeded"
    assert submit(cluster.driver, job) == "exists"


LATER = re.compile(r'\A\{"(?=[a-z])')
"""The beginning of a JSON object."""
OPTIONAL = re.compile(r',?"(analyzer|check_seq)":"[^"]*"')
BROKEN = re.compile(r'"request_type":"[^"]*"')


def test_members_that_a_later_release_adds_are_ignored(cluster: Cluster, place: Place) -> None:
    place.alter(lambda text: LATER.sub('{"x_later": {"of": ["the", "next"]}, "', text))
    assert "x_later" in json.dumps(place.states | place.recorded)
    place.put(*place.whole)
    await_as_recorded(cluster.driver, place)


def test_members_that_an_earlier_release_did_not_write_are_empty(cluster: Cluster, place: Place) -> None:
    names = ("waiting-autofix", "tombstone")
    place.alter(lambda text: OPTIONAL.sub("", text))
    place.put(*names)
    seen = listed(cluster.driver)
    for name in names:
        found, before = seen[place.states[name]["job"]], place.states[name]["observation"]
        report = found.report or found.cancellation
        assert report is not None
        assert (report.analyzer, report.check_seq) == ("", "")
        assert report.path == (before["report"] or before["cancellation"])["path"]
        assert (found.fingerprint, found.cancelled) == (before["fingerprint"], before["cancelled"])


def test_state_that_cannot_be_read_does_not_hide_other_jobs(cluster: Cluster, place: Place) -> None:
    place.put("waiting-autofix")
    place.alter(lambda text: BROKEN.sub('"request_type":7', text))
    place.put("waiting-patcher", "cancelled-waiting", "tombstone")
    reconcile(cluster.driver)
    seen = listed(cluster.driver)
    assert seen[place.states["waiting-autofix"]["job"]].report is not None
    for name in ("waiting-patcher", "cancelled-waiting", "tombstone"):
        found = seen.get(place.states[name]["job"])
        assert found is None or (found.report, found.cancellation) == (None, None)


class TestLocal:
    """States that only the local driver's directory can have."""

    pytestmark = pytest.mark.needs("bounds")

    def test_a_job_that_was_just_created_is_run(self, cluster: Cluster, place: LocalPlace) -> None:
        place.put("half-made")
        place.complete("half-made")
        place.free()
        name = place.states["half-made"]["job"]

        def succeeded() -> bool:
            reconcile(cluster.driver)
            return listed(cluster.driver)[name].phase == "succeeded"

        eventually(succeeded, "the current release has run the earlier release's job")

    def test_a_job_whose_shim_is_dead_is_disrupted_and_published(self, cluster: Cluster, place: LocalPlace) -> None:
        place.put("running")
        name, publisher = place.states["running"]["job"], Publisher()
        track_for(cluster.driver, publisher)
        assert publisher.accepted == []
        place.unlock(f"{name}/lock")
        track_until(cluster.driver, publisher, lambda: listed(cluster.driver)[name].reported)
        ((published, result),) = publisher.accepted
        assert (published, result["body"]["kwargs"]["status"]["code"]) == (name, 5106)
        assert listed(cluster.driver)[name].reported
        assert not place.path(f"{name}/root").exists()

    def test_a_job_that_has_waited_too_long_is_unschedulable(self, cluster: Cluster, place: LocalPlace) -> None:
        place.age = 24 * HOUR
        place.put("waiting-analysis")
        reconcile(cluster.driver)
        (seen,) = listed(cluster.driver).values()
        assert (seen.phase, seen.unschedulable != "") == ("failed", True)

    def test_a_reported_end_that_is_cancelled_is_pending_again(
        self, cluster: Cluster, place: LocalPlace, config: Config
    ) -> None:
        place.put("reported", "succeeded")
        for name, published in {"reported": "analyzer_failed", "succeeded": ""}.items():
            state = place.states[name]
            assert cancel(cluster.driver, cancellation(state, config)) == "exists"
            seen = listed(cluster.driver)[state["job"]]
            assert (seen.cancelled, seen.reported, seen.published) == (True, False, published)
            assert seen.ended_as is not None
            assert cluster.driver.mark_reported(seen, seen.ended_as)
            assert listed(cluster.driver)[state["job"]].reported

    def test_files_that_a_killed_submitter_left_are_no_job_and_are_removed_when_old(
        self, cluster: Cluster, place: LocalPlace
    ) -> None:
        place.age = HOUR
        place.put("half-made")
        left = {str(path.relative_to(place.directory)) for path in place.directory.rglob("*half-made*")}
        assert {path.partition("/")[0][:4] for path in left} == {".new", ".que", ".mak"}
        reconcile(cluster.driver)
        assert listed(cluster.driver) == {}
        cluster.driver.reconcile(Retention(reported=HOUR, orphaned=HOUR))
        assert list(place.directory.rglob("*half-made*")) == []

    def test_reported_jobs_are_removed_after_the_retention_and_others_after_orphan_age(
        self, cluster: Cluster, place: LocalPlace
    ) -> None:
        place.age = 2 * HOUR
        place.put("reported", "reported-tombstone", "main-failed", "tombstone")
        assert cluster.driver.reconcile(Retention(reported=HOUR, orphaned=3 * HOUR)) == 2
        assert set(listed(cluster.driver)) == {place.states[name]["job"] for name in ("main-failed", "tombstone")}
        assert cluster.driver.reconcile(Retention(reported=HOUR, orphaned=HOUR)) == 2


class TestNomad:
    """States that only a Variable, with or without a job, can have."""

    pytestmark = pytest.mark.needs("variables")

    def test_a_variable_without_a_job_is_published_as_deleted_and_a_repeat_gets_that_answer(
        self, cluster: Cluster, place: Place, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.put("half-made")
        name, publisher = place.states["half-made"]["job"], Publisher()
        assert name not in listed(cluster.driver)  # its submitter may still be about to register the job
        monkeypatch.setattr(cluster.driver._cache, "submit_seconds", 0.0)
        eventually(lambda: name in listed(cluster.driver), "the Variable without a job is listed as deleted")
        track_until(cluster.driver, publisher, lambda: bool(publisher.accepted))
        ((published, result),) = publisher.accepted
        assert (published, result["body"]["kwargs"]["status"]["code"]) == (name, 5109)
        assert submit(cluster.driver, planned(place.states["half-made"], config)) == "exists"

    def test_a_name_that_was_reported_as_deleted_is_free(self, cluster: Cluster, place: Place, config: Config) -> None:
        place.put("half-made-deleted")
        state, publisher = place.states["half-made-deleted"], Publisher()
        track_for(cluster.driver, publisher)
        assert publisher.accepted == []
        assert submit(cluster.driver, planned(state, config, changed=True)) == "created"

    def test_a_job_whose_canceller_died_is_stopped_and_confirmed(
        self, cluster: Cluster, place: Place, config: Config
    ) -> None:
        place.put("half-cancelled")
        state, publisher = place.states["half-cancelled"], Publisher()
        reconcile(cluster.driver)
        assert cluster.ended(state["job"]).cancelled
        track_until(cluster.driver, publisher, lambda: bool(publisher.accepted))
        ((_, result),) = publisher.accepted
        assert result["run_id"] == cancellation(state, config).report.run_id
