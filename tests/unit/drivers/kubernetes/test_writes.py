"""The driver's writes: each is one guarded patch, so what somebody else wrote in between is never undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import SET_ASIDE_SECONDS
from runner.drivers.kubernetes.driver import KubernetesDriver
from runner.drivers.kubernetes.manifest import CANCELLED, ENDED, FINGERPRINT, REPORTED, SET_ASIDE
from runner.drivers.kubernetes.objects import JobObject
from runner.drivers.kubernetes.patches import MAX_EVIDENCE, encode_outcome
from runner.errors import Rejected
from runner.jobs import Cancellation, JobSpec, Report, State
from runner.observation import Observation, Outcome
from runner.outcomes import explanation
from runner.runtime.clock import Deadline
from tests.harness.clock import ManualClock
from tests.unit.documents import read, whole
from tests.unit.drivers.kubernetes.objects import (
    CANCELLATION,
    CONFIRMED_AS,
    CREATING,
    DONE,
    FAILED,
    RUNNING,
    clock,
    condition,
    exited,
    job_document,
    pod,
    pod_document,
    waits,
)
from tests.unit.drivers.kubernetes.server import Server

NAME = "analysis-1"
OUTCOME = Outcome(reason="unschedulable", code=5102, hmessage="No machine had room.", err="0/1 nodes")
CONFIRMATION = Cancellation(name=NAME, labels={"manager": "runner"}, report=msgspec.convert(CONFIRMED_AS, Report))
LINGERING: dict[str, Any] = {
    "init": {"coat": DONE},
    "main": {"marvin": exited(3), "proxy": RUNNING},
    "phase": "Running",
}

Drive = Callable[[Server], KubernetesDriver]


@pytest.fixture
def drive(make_config: Callable[..., Config]) -> Drive:
    def driver(server: Server) -> KubernetesDriver:
        config = make_config(driver="kubernetes", kubernetes={"namespace": "jobs"})
        return KubernetesDriver(
            config,
            resolve_secrets=lambda _: {},
            api=server,  # type: ignore[arg-type]
            clock=ManualClock(),
            random=Random(0),
        )

    return driver


def seen(driver: KubernetesDriver) -> Observation:
    (found,) = driver.list()
    return found


def cancel(driver: KubernetesDriver, *, tombstone: bool = False) -> State | None:
    return driver.cancel(CONFIRMATION, Deadline.after(10, ManualClock()), tombstone=tombstone)


def noted(server: Server) -> dict[str, str]:
    found: dict[str, str] = server.jobs[NAME]["metadata"]["annotations"]
    return found


def labels(server: Server) -> dict[str, str]:
    found: dict[str, str] = server.jobs[NAME]["metadata"]["labels"]
    return found


def spec(server: Server) -> dict[str, Any]:
    return {name: value for name, value in server.jobs[NAME]["spec"].items() if name != "template"}


def made_anew() -> dict[str, Any]:
    made = job_document()
    made["metadata"] |= {"uid": "uid-2", "resourceVersion": "99"}
    return made


def _ignored(_result: object) -> None:
    """For a lambda that is called for what it does."""


def writes(server: Server) -> list[str]:
    return [each for each in server.asked if not each.startswith("GET")]


class TestEnd:
    def test_one_write_ends_it_and_stores_the_outcome(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        assert driver.end(seen(driver), OUTCOME)
        assert seen(driver).ended_as == OUTCOME
        assert spec(server)["activeDeadlineSeconds"] == 1
        assert len(writes(server)) == 1

    def test_a_suspended_job_is_resumed_without_pods_and_has_no_time_left(self, drive: Drive) -> None:
        server = Server(job_document(condition("Suspended"), suspend=True))
        driver = drive(server)
        assert driver.end(seen(driver), OUTCOME)
        assert spec(server) == {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 0}

    def test_the_first_outcome_is_kept(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        known = seen(driver)
        server.before = lambda: _ignored(drive(server).end(known, OUTCOME))
        other = msgspec.structs.replace(OUTCOME, reason="image_unavailable")
        assert not driver.end(known, other)
        assert seen(driver).ended_as == OUTCOME

    def test_a_job_that_has_started_since_is_not_ended_for_its_wait(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        known = seen(driver)
        assert known.phase == "waiting"
        server.pods = [pod_document(init={"coat": RUNNING}, phase="Pending")]
        assert not driver.end(known, OUTCOME)
        assert writes(server) == []

    def test_a_log_is_read_from_the_pod_that_was_seen_without_a_list(self, drive: Drive) -> None:
        failed = pod_document(init={"coat": DONE}, main={"marvin": exited(3)})
        server = Server(job_document(FAILED), pods=(failed,))
        driver = drive(server)
        known = seen(driver)
        server.asked.clear()
        with suppress(Rejected):  # the double has no logs
            driver.logs(known.name, known.container, 5, known)
        assert server.asked == [f"GET jobs/pods/{failed['metadata']['name']}/log"]

    def test_a_job_that_was_made_anew_is_left_alone(self, drive: Drive) -> None:
        for moment in ("before it is read", "before it is written"):
            server = Server(job_document())
            driver = drive(server)
            known = seen(driver)
            if moment == "before it is read":
                server.jobs[NAME] = made_anew()
            else:
                server.before = lambda server=server: server.jobs.update({NAME: made_anew()})
            assert not driver.end(known, OUTCOME)
            assert server.jobs[NAME] == made_anew(), moment

    def test_a_job_that_is_gone(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        known = seen(driver)
        server.jobs.clear()
        assert not driver.end(known, OUTCOME)

    def test_a_cancel_in_between_decides(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        known = seen(driver)
        server.before = lambda: _ignored(cancel(driver))
        assert not driver.end(known, OUTCOME)
        assert ENDED not in noted(server)
        assert seen(driver).cancelled

    def test_a_job_that_has_ended_by_itself_keeps_its_own_end(self, drive: Drive) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        assert not driver.end(seen(driver), OUTCOME)
        assert writes(server) == []

    @pytest.mark.parametrize(
        ("first", "ends"),
        [
            (RUNNING, False),
            (waits("ErrImagePull", "not found"), False),
            (waits("CreateContainerConfigError", 'secret "s" not found'), True),
            (CREATING, True),
        ],
        ids=["it runs", "it waits for something else", "it waits as before", "nothing says otherwise"],
    )
    def test_a_job_that_was_seen_waiting_is_read_again(self, first: dict[str, Any], ends: bool, drive: Drive) -> None:
        """The watch of its pod may lag: what it waited for may be over."""
        waiting = pod_document(init={"coat": first}, main={"marvin": CREATING}, phase="Pending")
        server = Server(job_document(), pods=(waiting,))
        driver = drive(server)
        waited = msgspec.structs.replace(
            seen(driver), phase="waiting", configuration_error="coat: s is missing", image_error=""
        )
        outcome = msgspec.structs.replace(OUTCOME, reason="misconfigured", code=5108)
        assert driver.end(waited, outcome) == ends
        assert len(writes(server)) == ends

    def test_after_a_write_of_the_job_controller_it_reads_the_job_again(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        server.before = lambda: server.touch(NAME)
        assert driver.end(seen(driver), OUTCOME)
        assert len(writes(server)) == 2

    def test_a_request_that_was_long_on_its_way_ends_no_job_that_runs_by_now(self, drive: Drive) -> None:
        waiting = pod_document(init={"coat": CREATING}, main={"marvin": CREATING}, phase="Pending")
        server = Server(job_document(), pods=(waiting,))
        driver = drive(server)
        waited = seen(driver)
        assert waited.phase == "waiting"

        def start() -> None:
            server.pods = [pod_document(init={"coat": RUNNING}, main={"marvin": CREATING}, phase="Pending")]
            server.touch(NAME)  # the Job controller counts the pod

        server.before = start
        assert not driver.end(waited, OUTCOME)
        assert seen(driver).ended_as is None

    def test_long_evidence_is_cut_at_the_front(self) -> None:
        stored = encode_outcome(msgspec.structs.replace(OUTCOME, err="é" * MAX_EVIDENCE + "the last line"))
        err = msgspec.json.decode(stored, type=Outcome).err
        assert len(err.encode()) <= MAX_EVIDENCE
        assert err.endswith("éthe last line")
        assert err.startswith("[...]\né")


class TestMark:
    def test_label_annotation_and_time_to_live(self, drive: Drive) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        assert driver.mark_reported(seen(driver), OUTCOME)
        assert labels(server)[REPORTED] == noted(server)[REPORTED] == "unschedulable"
        assert spec(server)["ttlSecondsAfterFinished"] == 86400
        assert (seen(driver).reported, seen(driver).published) == (True, "unschedulable")
        assert len(server.asked) - server.asked.count("GET jobs/jobs") - server.asked.count("GET jobs/pods") == 1

    def test_what_is_set_aside_has_a_label_of_its_own_and_seven_days(self, drive: Drive) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        assert driver.set_aside(seen(driver), OUTCOME)
        assert {REPORTED, SET_ASIDE} <= set(labels(server))
        assert spec(server)["ttlSecondsAfterFinished"] == SET_ASIDE_SECONDS
        assert (seen(driver).reported, seen(driver).published) == (True, "")

    def test_what_is_set_aside_is_counted_by_its_metadata_alone(self, drive: Drive) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        assert driver.count_set_aside() == 0
        assert driver.set_aside(seen(driver), OUTCOME)
        assert driver.count_set_aside() == 1
        assert "as=PartialObjectMetadataList" in server.accepted[-1]

    @pytest.mark.parametrize("mark", [KubernetesDriver.mark_reported, KubernetesDriver.set_aside])
    def test_a_job_that_was_made_anew_is_never_marked(self, drive: Drive, mark: Any) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        known = seen(driver)
        server.jobs[NAME] = made_anew()
        assert not mark(driver, known, OUTCOME)
        assert server.jobs[NAME] == made_anew()
        server.jobs.clear()
        assert not mark(driver, known, OUTCOME)

    @pytest.mark.parametrize("mark", [KubernetesDriver.mark_reported, KubernetesDriver.set_aside])
    def test_a_cancel_that_came_after_the_observation_is_still_to_be_confirmed(self, drive: Drive, mark: Any) -> None:
        server = Server(job_document(FAILED))
        driver = drive(server)
        known = seen(driver)
        assert cancel(driver) == "exists"
        assert not mark(driver, known, OUTCOME)
        assert not seen(driver).reported
        assert mark(driver, seen(driver), OUTCOME)
        assert seen(driver).reported

    def test_it_stores_an_end_that_a_cancel_had_missed(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        assert cancel(driver) == "cancelled"
        remembered = msgspec.structs.replace(seen(driver), ended_as=OUTCOME)  # the tracker had seen it end before
        assert driver.mark_reported(remembered, explanation(remembered))
        assert seen(driver).ended_as == OUTCOME

    def test_it_stores_a_success_that_a_cancel_had_missed(self, drive: Drive) -> None:
        """The pod shows it now, and is removed before the confirmation is sent again."""
        server = Server(job_document())
        driver = drive(server)
        assert cancel(driver) == "cancelled"
        ended = msgspec.structs.replace(seen(driver), phase="succeeded")
        assert driver.mark_reported(ended, explanation(ended))
        stored = seen(driver).ended_as
        assert stored is not None
        assert stored.reason == "succeeded"

    def test_it_stores_no_end_that_was_not_reported(self, drive: Drive) -> None:
        """The confirmation said that the run was cancelled. The pod shows only now that it had ended."""
        server = Server(job_document())
        driver = drive(server)
        assert cancel(driver) == "cancelled"
        confirmed = explanation(seen(driver))
        assert driver.mark_reported(msgspec.structs.replace(seen(driver), phase="succeeded"), confirmed)
        assert seen(driver).ended_as is None


class TestCancel:
    def test_a_running_job_is_ended(self, drive: Drive) -> None:
        server = Server(job_document(), pods=(pod_document(init={"coat": RUNNING}, phase="Pending"),))
        driver = drive(server)
        assert [cancel(driver), cancel(driver)] == ["cancelled", "cancelled"]
        assert spec(server)["activeDeadlineSeconds"] == 1
        assert (seen(driver).cancelled, seen(driver).ended_as) == (True, None)
        assert len(writes(server)) == 1

    def test_a_job_that_a_queue_holds_is_ended_without_a_pod(self, drive: Drive) -> None:
        server = Server(job_document(condition("Suspended"), suspend=True))
        assert cancel(drive(server)) == "cancelled"
        assert spec(server) == {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 0}

    def test_a_run_that_had_ended_keeps_its_outcome(self, drive: Drive) -> None:
        failed = pod_document(init={"coat": DONE}, main={"marvin": exited(3)})
        server = Server(job_document(FAILED), pods=(failed,))
        driver = drive(server)
        assert [cancel(driver), cancel(driver)] == ["exists", "exists"]
        found = seen(driver)
        assert found.ended_as is not None
        assert (found.cancelled, found.ended_as.reason, found.ended_as.code) == (True, "analyzer_failed", 5107)
        assert spec(server) == {"suspend": False, "activeDeadlineSeconds": 2400}

    def test_a_run_whose_containers_have_ended_while_something_lingers(self, drive: Drive) -> None:
        states = {"marvin": exited(3), "proxy": RUNNING}
        server = Server(job_document(), pods=(pod_document(init={"coat": DONE}, main=states, phase="Running"),))
        driver = drive(server)
        assert cancel(driver) == "exists"
        assert spec(server)["activeDeadlineSeconds"] == 1
        found = seen(driver)
        assert found.ended_as is not None
        assert found.ended_as.reason == "analyzer_failed"

    def test_the_mark_and_its_time_to_live_are_removed_and_what_was_published_is_kept(self, drive: Drive) -> None:
        for mark, published in (("mark_reported", "unschedulable"), ("set_aside", "")):
            server = Server(job_document(FAILED))
            driver = drive(server)
            getattr(driver, mark)(seen(driver), OUTCOME)
            assert cancel(driver) == "exists"
            assert (seen(driver).reported, seen(driver).published) == (False, published)
            assert not {REPORTED, SET_ASIDE} & set(labels(server))
            assert "ttlSecondsAfterFinished" not in spec(server)
            assert len(writes(server)) == 2

    def test_a_job_that_release_0_1_has_marked(self, drive: Drive) -> None:
        server = Server(job_document(FAILED, annotations={REPORTED: "timed_out"}))
        driver = drive(server)
        assert cancel(driver) == "exists"
        assert (seen(driver).reported, seen(driver).published) == (False, "timed_out")

    def test_an_outcome_that_we_ended_it_for_is_kept(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        driver.end(seen(driver), OUTCOME)
        assert cancel(driver) == "exists"
        assert (seen(driver).cancelled, seen(driver).ended_as) == (True, OUTCOME)

    def test_an_end_and_a_mark_in_between_are_seen(self, drive: Drive) -> None:
        """The Job was running when it was read. At the write it had ended and was reported."""
        server = Server(job_document())
        driver = drive(server)

        def ends() -> None:
            server.jobs[NAME]["status"] = job_document(FAILED)["status"]
            server.touch(NAME)
            driver.mark_reported(seen(driver), OUTCOME)

        server.before = ends
        assert cancel(driver) == "exists"
        assert seen(driver).published == "unschedulable"
        assert not seen(driver).reported

    def test_a_confirmed_cancel_is_reported_and_a_repeat_changes_nothing(self, drive: Drive) -> None:
        server = Server(job_document(FAILED, annotations=CANCELLATION))
        driver = drive(server)
        assert driver.mark_reported(seen(driver), msgspec.structs.replace(OUTCOME, reason="cancelled"))
        before = json.dumps(server.jobs)
        assert cancel(driver, tombstone=True) == "cancelled"
        assert json.dumps(server.jobs) == before
        assert seen(driver).reported

    def test_a_tombstone_ends_at_once(self, drive: Drive) -> None:
        server = Server()
        driver = drive(server)
        assert cancel(driver) is None
        assert cancel(driver, tombstone=True) == "cancelled"
        assert spec(server) == {"parallelism": 0, "activeDeadlineSeconds": 0}
        assert CANCELLED in noted(server)


class TestSubmit:
    @pytest.fixture
    def spec(self, config: Config) -> JobSpec:
        (made,) = plan(read("analysis_run", whole("analysis_run")), config)
        assert isinstance(made, JobSpec)
        return msgspec.structs.replace(made, name=NAME)

    def submitted(self, drive: Drive, spec: JobSpec, **stored: str) -> State:
        server = Server(job_document(FAILED, annotations={FINGERPRINT: spec.fingerprint, **stored}))
        return drive(server).submit(spec, Deadline.after(10, ManualClock()))

    def test_a_cancelled_name_is_taken_for_good(self, drive: Drive, spec: JobSpec) -> None:
        assert self.submitted(drive, spec, **CANCELLATION) == "cancelled"

    def test_a_run_that_was_cancelled_after_its_end_exists(self, drive: Drive, spec: JobSpec) -> None:
        assert self.submitted(drive, spec, **CANCELLATION, **{ENDED: encode_outcome(OUTCOME)}) == "exists"


class TestFind:
    def test_the_job_and_its_pod_but_not_the_pod_of_an_earlier_job(self, drive: Drive) -> None:
        own = pod_document(init={"coat": RUNNING}, phase="Pending")
        earlier = pod_document(init={"coat": exited(9)}, made=clock(30), name="earlier")
        earlier["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "uid-0"
        server = Server(job_document(), pods=(own, earlier))
        driver = drive(server)
        found = driver.find(seen(driver))
        assert found == seen(driver)
        assert found is not None
        assert found.phase == "running"

    @pytest.mark.parametrize(("watched", "disrupted"), [(True, True), (False, False)])
    def test_the_pod_with_what_the_watch_has_shown_of_its_deletion(
        self, drive: Drive, watched: bool, disrupted: bool
    ) -> None:
        """A disrupted run is looked up by name before it is reported. Then the pod has the time of its removal."""
        removed = pod_document(init={"coat": DONE}, main={"marvin": exited(2)}, deleted=clock(5, 1), grace=0)
        failed = job_document(FAILED)
        driver = drive(Server(failed, pods=(removed,)))
        driver.sources()
        if watched:
            store = driver._stores["jobs"]
            store.replace_jobs([msgspec.convert(failed, JobObject)], "1")
            store.update_pod(pod(init={"coat": DONE}, main={"marvin": RUNNING}, phase="Running", deleted=clock(5, 30)))
        found = driver.find(seen(driver))
        assert found is not None
        assert (found.main_exit, found.disrupted) == (2, disrupted)

    def test_none_if_it_is_gone(self, drive: Drive) -> None:
        server = Server(job_document())
        driver = drive(server)
        known = seen(driver)
        server.jobs.clear()
        assert driver.find(known) is None


def event(reason: str, message: str, at: str = clock(1)) -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": at}


MOUNT = 'MountVolume.SetUp failed for volume "credentialsdir" : secret "artifacts" not found'


class TestExplain:
    """`pending` has a pod whose containers only say PodInitializing."""

    pending = pod_document(init={"coat": CREATING}, main={"marvin": CREATING}, phase="Pending")

    def explained(self, drive: Drive, server: Server) -> Observation:
        driver = drive(server)
        return driver.explain(seen(driver))

    def test_why_no_pod_is_made_in_the_clusters_words(self, drive: Drive) -> None:
        events = [
            event("FailedCreate", 'Error creating: pods "analysis-1-x" is forbidden: exceeded quota', clock(1)),
            event("FailedCreate", "Error creating: pods is forbidden: no PriorityClass with name high", clock(2)),
            event("SuccessfulCreate", "Created pod: x", clock(0)),
        ]
        seen_ = self.explained(drive, Server(job_document(), events={"uid-1": events}))
        assert seen_.not_admitted == "pods is forbidden: no PriorityClass with name high"

    def test_once_there_is_a_pod_the_refusal_is_history(self, drive: Drive) -> None:
        events = {"uid-1": [event("FailedCreate", "Error creating: quota")]}
        seen_ = self.explained(drive, Server(job_document(), pods=(self.pending,), events=events))
        assert seen_.not_admitted == ""

    def test_after_a_pod_was_lost_the_refusal_of_the_next_one_is_the_reason(self, drive: Drive) -> None:
        events = {"uid-1": [event("FailedCreate", "Error creating: quota", clock(6))]}
        evicted = pod_document(init={"coat": DONE}, main={"marvin": exited(137)}, reason="Evicted")
        seen_ = self.explained(drive, Server(job_document(), pods=(evicted,), events=events))
        assert seen_.not_admitted == "quota"

    def test_the_secret_of_a_volume_is_named(self, drive: Drive) -> None:
        events = {"uid-of-analysis-1-x": [event("Scheduled", "on node"), event("FailedMount", MOUNT)]}
        seen_ = self.explained(drive, Server(job_document(), pods=(self.pending,), events=events))
        assert seen_.configuration_error == MOUNT

    @pytest.mark.parametrize("later", ["Pulling", "Pulled", "Created", "Started"])
    def test_a_mount_that_succeeded_later_is_no_error(self, drive: Drive, later: str) -> None:
        events = {"uid-of-analysis-1-x": [event("FailedMount", "failed to sync secret cache"), event(later, "x")]}
        seen_ = self.explained(drive, Server(job_document(), pods=(self.pending,), events=events))
        assert seen_.configuration_error == ""

    def test_what_the_pods_status_says_takes_precedence(self, drive: Drive) -> None:
        refused = pod_document(init={"coat": waits("CreateContainerError", "no")}, phase="Pending")
        events = {"uid-of-analysis-1-x": [event("FailedMount", MOUNT)]}
        seen_ = self.explained(drive, Server(job_document(), pods=(refused,), events=events))
        assert seen_.configuration_error == "coat: CreateContainerError: no"

    def test_no_node_takes_it_until_one_does(self, drive: Drive) -> None:
        failed, scheduled = event("FailedScheduling", "0/1 nodes"), event("Scheduled", "on node")
        for events, wanted in (([failed], "0/1 nodes"), ([failed, scheduled], "")):
            server = Server(job_document(), pods=(self.pending,), events={"uid-of-analysis-1-x": events})
            assert self.explained(drive, server).unschedulable == wanted


def test_a_list_costs_one_request_per_kind(drive: Drive) -> None:
    failed = pod_document(init={"coat": DONE}, main={"marvin": exited(3)})
    server = Server(job_document(FAILED), pods=(failed,))
    assert seen(drive(server)).main_exit == 3
    assert server.asked == ["GET jobs/jobs", "GET jobs/pods"]
