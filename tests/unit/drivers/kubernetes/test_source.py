"""The sources of a namespace, session by session, against a scripted API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner.drivers.driver import Source
from runner.drivers.http.client import Unsettled
from runner.drivers.kubernetes import source, store
from runner.drivers.kubernetes.api import ApiServerClient
from runner.drivers.kubernetes.objects import JobObject, PodObject
from runner.drivers.kubernetes.source import namespace_sources
from runner.errors import Busy, OrchestratorError, Rejected, Unavailable
from tests.harness.clock import ManualClock
from tests.unit.drivers.kubernetes.apiserver import (
    ApiServer,
    RecordingView,
    Session,
    api_server,
    bookmark,
    error,
    event,
    is_silent,
    job,
    pod,
    refuses,
    sends,
)

ALIVE = ("alive",)
WITH_ITS_POD = "BackoffLimitExceeded"


class Namespace:
    """The two sources of the namespace `ci`, a server for them, and a view."""

    def __init__(self, server: ApiServer, client: ApiServerClient) -> None:
        self.server = server
        self.clock = ManualClock()
        self.view = RecordingView()
        self.held = store.NamespaceStore("ci", "kubernetes", self.clock, lambda: client.clock_ahead)
        self.sources = namespace_sources(client, self.held, self.clock)

    @property
    def jobs(self) -> Source:
        return self.sources[0]

    @property
    def pods(self) -> Source:
        return self.sources[1]

    def start(self) -> None:
        """Each source's first session, with watches that end at once."""
        self.jobs.follow(self.view)
        self.pods.follow(self.view)
        self.view.taken()
        self.server.asked.clear()

    def watch_jobs(self, *lines: bytes) -> list[tuple[str, ...]]:
        """What the view gets in a session of the jobs, without its end."""
        return self._watch("jobs", self.jobs, lines)

    def watch_pods(self, *lines: bytes) -> list[tuple[str, ...]]:
        return self._watch("pods", self.pods, lines)

    def _watch(self, kind: str, of: Source, lines: tuple[bytes, ...]) -> list[tuple[str, ...]]:
        self.server.watches[kind].append(sends(*lines))
        of.follow(self.view)
        *calls, end = self.view.taken()
        assert end == ALIVE
        return calls

    def fail(self, of: Source, session: Session, kind: type[OrchestratorError] = Unavailable) -> str:
        """The error of a session in which the watch has this script."""
        self.server.watches[of.name.split()[-1]].append(session)
        with pytest.raises(kind) as caught:
            of.follow(self.view)
        return caught.value.detail


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    with api_server(tmp_path) as (server, client):
        yield Namespace(server, client)


class TestFirstSession:
    def test_lists_jobs_and_pods_in_pages_and_shows_them_once_both_are_known(self, namespace: Namespace) -> None:
        namespace.server.page = 2
        names = [f"j{number}" for number in range(5)]
        namespace.server.lists(
            jobs=[job(name, 90) for name in names], pods=[pod("j1", 91, exited=3), pod("j4", 92, exited=0)]
        )
        namespace.jobs.follow(namespace.view)
        assert namespace.view.taken() == [ALIVE]
        namespace.pods.follow(namespace.view)
        assert namespace.view.taken() == [("replace", "ci", "j0", "j1=3", "j2", "j3", "j4=0"), ALIVE]
        assert (namespace.server.did("list", "jobs"), namespace.server.did("list", "pods")) == (3, 1)

    def test_asks_for_what_is_not_reported_and_watches_from_the_version_of_the_list(self, namespace: Namespace) -> None:
        namespace.jobs.follow(namespace.view)
        namespace.pods.follow(namespace.view)
        jobs = {"labelSelector": "manager=runner,!orchestrator/reported,!orchestrator/set-aside"}
        watch = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "100", "timeoutSeconds": "25"}
        listed, watched, pods_listed, pods_watched = namespace.server.asked
        assert listed == ("list", "jobs", {**jobs, "limit": "100"})
        assert watched == ("watch", "jobs", {**jobs, **watch})
        assert pods_listed[2]["labelSelector"].startswith("role in (")
        assert pods_watched == ("watch", "pods", {"labelSelector": pods_listed[2]["labelSelector"], **watch})
        assert [each.name for each in namespace.sources] == ["kubernetes/ci jobs", "kubernetes/ci pods"]

    def test_of_the_pods_waits_for_the_list_of_the_jobs(self, namespace: Namespace) -> None:
        with pytest.raises(Unavailable, match="kubernetes/ci pods: the jobs have not been listed yet"):
            namespace.pods.follow(namespace.view)
        assert sum(namespace.clock.slept) == pytest.approx(25, abs=1)
        assert not namespace.server.asked

    def test_holds_back_every_event_until_the_pods_are_listed(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90), job("b", 91)])
        assert (
            namespace.watch_jobs(event("MODIFIED", job("a", 101, failed=WITH_ITS_POD)), event("DELETED", job("b", 102)))
            == []
        )
        namespace.server.lists(jobs=[], pods=[pod("a", 95, exited=3)])
        namespace.pods.follow(namespace.view)
        assert namespace.view.taken() == [("replace", "ci", "a=3"), ALIVE]
        assert namespace.view.jobs["a"].phase == "failed"

    @pytest.mark.parametrize(
        ("status", "kind"), [(403, Rejected), (404, Unavailable), (410, Unavailable), (429, Busy), (500, Unsettled)]
    )
    def test_whose_list_is_refused_raises_and_the_next_one_lists(
        self, namespace: Namespace, status: int, kind: type[OrchestratorError]
    ) -> None:
        namespace.server.lists(jobs=[job("a", 90)])
        namespace.server.refusals["jobs"].append(refuses(status))
        with pytest.raises(kind):
            namespace.jobs.follow(namespace.view)
        assert not namespace.server.did("watch", "jobs")
        namespace.start()
        assert list(namespace.view.jobs) == ["a"]

    @pytest.mark.parametrize("body", [b"<html>", b'{"items": [{"metadata": 3}]}', b'{"items": "\xff"}'])
    def test_whose_list_cannot_be_read_raises(self, namespace: Namespace, body: bytes) -> None:
        namespace.server.refusals["jobs"].append(lambda conversation: conversation.answer(200, body))
        with pytest.raises(Unavailable, match="kubernetes/ci jobs: a list cannot be read"):
            namespace.jobs.follow(namespace.view)

    def test_with_another_view_lists_both_kinds_again(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 91)])
        namespace.start()
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 95, exited=3)])
        namespace.view = RecordingView()
        namespace.jobs.follow(namespace.view)
        assert namespace.view.taken() == [ALIVE], "the pods that were known are as old as the last session"
        namespace.pods.follow(namespace.view)
        assert namespace.view.taken() == [("replace", "ci", "a=3"), ALIVE]


class TestLaterSessions:
    def test_continue_from_the_last_event_or_bookmark_without_a_list(self, namespace: Namespace) -> None:
        namespace.start()
        namespace.watch_jobs(event("ADDED", job("a", 110)), event("MODIFIED", job("a", 112)))
        assert namespace.watch_jobs(bookmark(150)) == [ALIVE]
        namespace.watch_jobs(event("DELETED", job("a", 160)))
        namespace.watch_jobs()
        assert namespace.server.versions("jobs") == ["100", "112", "150", "160"]
        assert not namespace.server.did("list", "jobs")

    def test_that_are_cut_every_second_never_list(self, namespace: Namespace) -> None:
        namespace.start()
        for number in range(5):
            said = namespace.fail(
                namespace.jobs, sends(event("ADDED", job(f"j{number}", 110 + number)), end=False), Unsettled
            )
            assert "did not answer" in said
        assert list(namespace.view.jobs) == [f"j{number}" for number in range(5)]
        assert namespace.server.versions("jobs") == ["100", "110", "111", "112", "113"]
        assert not namespace.server.did("list", "jobs")

    def test_that_are_cut_within_a_line_continue_before_it(self, namespace: Namespace) -> None:
        namespace.start()
        whole, cut = event("ADDED", job("a", 110)), event("ADDED", job("b", 111))
        namespace.fail(namespace.jobs, sends(whole + cut[:-20], end=False), Unsettled)
        assert namespace.view.taken() == [("update", "a")]
        assert namespace.watch_jobs(cut) == [("update", "b")]
        assert namespace.server.versions("jobs") == ["100", "110"]

    def test_that_are_silent_raise_and_continue(self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "SILENCE_SECONDS", 0.3)
        namespace.start()
        assert "silent" in namespace.fail(namespace.jobs, is_silent, Unsettled)
        assert namespace.view.taken() == [], "silence is no proof of life"
        namespace.watch_jobs()
        assert namespace.server.versions("jobs") == ["100", "100"]

    @pytest.mark.parametrize(
        ("session", "kind"),
        [
            (refuses(403), Rejected),
            (refuses(404), Unavailable),
            (refuses(429), Busy),
            (refuses(500), Unsettled),
            (sends(error(500)), Unsettled),
            (sends(error(0, "odd")), Unavailable),
        ],
    )
    def test_that_are_refused_raise_and_continue(
        self, namespace: Namespace, session: Session, kind: type[OrchestratorError]
    ) -> None:
        namespace.start()
        namespace.fail(namespace.jobs, session, kind)
        namespace.watch_jobs()
        assert namespace.server.versions("jobs") == ["100", "100"]
        assert not namespace.server.did("list", "jobs")

    def test_list_again_after_three_refusals_in_a_row(self, namespace: Namespace) -> None:
        """The API server answers 500 to a version that it cannot read."""
        namespace.start()
        for status, kind in ((500, Unsettled), (504, Unsettled), (429, Busy), (429, Busy)):
            namespace.fail(namespace.jobs, refuses(status), kind)
        namespace.watch_jobs()
        for _ in range(3):
            namespace.fail(namespace.jobs, sends(error(500)), Unsettled)
        assert not namespace.server.did("list", "jobs")
        namespace.watch_jobs()
        assert namespace.server.did("list", "jobs") == 1

    def test_list_again_after_a_while(self, namespace: Namespace) -> None:
        namespace.start()
        namespace.clock.advance(599)
        namespace.watch_jobs()
        assert not namespace.server.did("list", "jobs")
        namespace.clock.advance(1)
        namespace.server.lists(jobs=[job("missed", 105)], version=120)
        assert namespace.watch_jobs() == [("replace", "ci", "missed")]
        assert namespace.server.versions("jobs") == ["100", "120"]

    def test_that_list_what_has_not_changed_keep_what_is_stored(self, namespace: Namespace) -> None:
        """Two copies of all jobs and pods would be in memory until the list is complete."""
        listed, made = job("a", 90), pod("a", 91, exited=3)
        namespace.server.lists(jobs=[listed], pods=[made])
        namespace.start()
        jobs = [namespace.held.relevant_jobs([msgspec.convert(listed, JobObject)])[0] for _ in range(2)]
        pods = [namespace.held.relevant_pods([msgspec.convert(made, PodObject)])[0] for _ in range(2)]
        assert (jobs[0] is jobs[1], pods[0] is pods[1]) == (True, True)
        changed = msgspec.convert(job("a", 95), JobObject)
        assert namespace.held.relevant_jobs([changed]) == [changed] != jobs[:1]

    def test_still_watch_if_that_list_fails(self, namespace: Namespace) -> None:
        namespace.start()
        namespace.clock.advance(600)
        namespace.server.refusals["jobs"].append(refuses(500))
        with pytest.raises(Unsettled):
            namespace.jobs.follow(namespace.view)
        assert namespace.watch_jobs(event("ADDED", job("a", 110))) == [("update", "a")]
        assert namespace.server.versions("jobs") == ["100"]


GAPS = [
    pytest.param(sends(error(410)), id="410 in the stream"),
    pytest.param(refuses(410), id="410 as a status"),
    pytest.param(sends(b'{"type": "ADDED", "object": {"metadata": {"name": 3}}}\n'), id="another schema"),
    pytest.param(sends(b"<html>\n"), id="no JSON"),
    pytest.param(sends(b'{"type": "ADDED", "object": {"metadata": {"name": "\xff"}}}\n'), id="no UTF-8"),
]


class TestGap:
    @pytest.mark.parametrize("session", GAPS)
    def test_is_followed_by_a_list_that_finds_what_was_missed(self, namespace: Namespace, session: Session) -> None:
        namespace.server.lists(jobs=[job("ended", 90), job("gone", 91)], pods=[pod("ended", 92)])
        namespace.start()
        for of in namespace.sources:
            assert "everything is listed again" in namespace.fail(of, session)
        assert namespace.view.taken() == []
        namespace.server.lists(
            jobs=[job("ended", 200, failed=WITH_ITS_POD), job("new", 201)],
            pods=[pod("ended", 202, exited=3), pod("new", 203)],
            version=210,
        )
        namespace.jobs.follow(namespace.view)
        assert namespace.view.taken() == [("update", "new"), ALIVE], "the pod that explains the other end is not known"
        namespace.pods.follow(namespace.view)
        assert namespace.view.taken() == [("replace", "ci", "ended=3", "new"), ALIVE]
        assert namespace.server.versions("pods") == ["100", "210"]

    def test_shows_a_pod_that_was_deleted_meanwhile_as_deleted(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92, exited=3)])
        namespace.start()
        namespace.fail(namespace.pods, sends(error(410)))
        namespace.server.lists(jobs=[job("a", 90)], version=210)
        namespace.pods.follow(namespace.view)
        assert namespace.view.taken() == [("replace", "ci", "a=3"), ALIVE]
        assert namespace.held._pods["a"].metadata.deletion_timestamp is not None

    def test_does_not_show_a_pod_as_deleted_that_is_newer_than_the_list(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)])
        namespace.start()
        namespace.watch_pods(event("ADDED", pod("a", 220)))
        namespace.fail(namespace.pods, sends(error(410)))
        namespace.server.lists(jobs=[job("a", 90)], version=210)
        namespace.pods.follow(namespace.view)
        assert namespace.held._pods["a"].metadata.deletion_timestamp is None


class TestJobs:
    def test_that_leave_are_shown_a_last_time_with_their_pod(self, namespace: Namespace) -> None:
        """A job that gets the label arrives as DELETED, with the object before that."""
        namespace.server.lists(jobs=[job("a", 90, failed=WITH_ITS_POD)], pods=[pod("a", 92, exited=3)])
        namespace.start()
        assert namespace.watch_jobs(event("DELETED", job("a", 120, failed=WITH_ITS_POD))) == [("left", "a")]
        assert not namespace.held._pods
        assert namespace.watch_pods(event("MODIFIED", pod("a", 121, exited=3))) == []

    def test_that_are_made_anew_do_not_get_the_pod_of_their_predecessor(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92, exited=3)])
        namespace.start()
        again = job("a", 111, uid="second")
        calls = namespace.watch_jobs(event("DELETED", job("a", 110)), event("ADDED", again))
        assert calls == [("left", "a"), ("update", "a")]
        assert namespace.watch_pods(event("DELETED", pod("a", 112, exited=3))) == []
        assert namespace.watch_pods(event("ADDED", pod("a", 113, name="other", uid="second", exited=0))) == [
            ("update", "a=0")
        ]

    def test_whose_identity_changes_do_not_get_it_either(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92, exited=3)])
        namespace.start()
        assert namespace.watch_jobs(event("MODIFIED", job("a", 111, uid="second"))) == [("update", "a")]

    def test_that_are_made_anew_during_a_gap_do_not_get_it_either(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92, exited=3)])
        namespace.start()
        namespace.fail(namespace.jobs, sends(error(410)))
        namespace.server.lists(jobs=[job("a", 200, uid="second")], version=210)
        assert namespace.watch_jobs() == [("replace", "ci", "a")]


class TestPods:
    def test_that_end_after_their_job_has_are_shown_with_it(self, namespace: Namespace) -> None:
        """The two watches are independent: here the Job's condition arrives before the status that caused it."""
        namespace.server.lists(jobs=[job("a", 90), job("b", 91)], pods=[pod("a", 92)])
        namespace.start()
        failed = event("MODIFIED", job("a", 121, failed=WITH_ITS_POD))
        assert namespace.watch_jobs(failed, event("MODIFIED", job("b", 122))) == [("update", "b")]
        assert namespace.watch_pods(event("ADDED", pod("b", 118))) == [("update", "b")]
        assert namespace.watch_pods(event("MODIFIED", pod("a", 119, exited=3))) == [("update", "a=3")]
        assert namespace.view.jobs["a"].phase == "failed"

    @pytest.mark.parametrize("later", [bookmark(121), event("ADDED", pod("b", 121))], ids=["bookmark", "other pod"])
    def test_that_the_watch_of_pods_does_not_have_are_not_waited_for(self, namespace: Namespace, later: bytes) -> None:
        namespace.server.lists(jobs=[job("a", 90)])
        namespace.start()
        assert namespace.watch_jobs(event("MODIFIED", job("a", 121, failed=WITH_ITS_POD))) == []
        assert namespace.watch_pods(bookmark(120)) == [ALIVE]
        assert ("update", "a") in namespace.watch_pods(later)

    def test_are_waited_for_no_longer_than_two_minutes(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)])
        namespace.start()
        assert namespace.watch_jobs(event("MODIFIED", job("a", 121, failed=WITH_ITS_POD))) == []
        namespace.clock.advance(120)
        assert namespace.watch_pods(bookmark(101)) == [("update", "a"), ALIVE]

    @pytest.mark.parametrize("reason", ["DeadlineExceeded", "FailedIndexes"])
    def test_are_not_waited_for_if_the_job_failed_without_them(self, namespace: Namespace, reason: str) -> None:
        namespace.server.lists(jobs=[job("a", 90)])
        namespace.start()
        assert namespace.watch_jobs(event("MODIFIED", job("a", 121, failed=reason))) == [("update", "a")]

    def test_whose_versions_arrive_out_of_order_keep_the_newest(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 91)])
        namespace.start()
        assert namespace.watch_pods(event("MODIFIED", pod("a", 103, exited=3))) == [("update", "a=3")]
        assert namespace.watch_pods(event("MODIFIED", pod("a", 102))) == []
        failed = event("MODIFIED", job("a", 105, failed=WITH_ITS_POD))
        assert namespace.watch_jobs(failed, event("MODIFIED", job("a", 104))) == [("update", "a=3")]

    def test_that_arrive_before_their_job_are_kept_for_it(self, namespace: Namespace) -> None:
        namespace.start()
        early = [event("ADDED", pod("a", 111)), event("MODIFIED", pod("a", 112, exited=3))]
        assert namespace.watch_pods(*early) == []
        assert namespace.watch_jobs(event("ADDED", job("a", 110))) == [("update", "a=3")]

    def test_that_were_listed_before_their_job_arrived_are_kept_for_it(self, namespace: Namespace) -> None:
        namespace.jobs.follow(namespace.view)
        namespace.server.lists(pods=[pod("a", 111, exited=3)], version=115)
        namespace.pods.follow(namespace.view)
        assert namespace.watch_jobs(event("ADDED", job("a", 110)))[-1] == ("update", "a=3")

    def test_that_were_deleted_still_show_how_they_ended(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92)])
        namespace.start()
        assert namespace.watch_pods(event("DELETED", pod("a", 119, exited=3))) == [("update", "a=3")]
        (last,) = namespace.held._pods.values()
        assert last.metadata.deletion_timestamp is not None
        assert last.metadata.deletion_timestamp.year == 9999, "after every time in its status"

    def test_that_were_deleted_gracefully_keep_their_own_time(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92)])
        namespace.start()
        deleted = pod("a", 119, exited=3)
        deleted["metadata"]["deletionTimestamp"] = "2026-11-27T10:01:00Z"
        assert namespace.watch_pods(event("DELETED", deleted)) == [("update", "a=3")]
        (last,) = namespace.held._pods.values()
        assert last.metadata.deletion_timestamp is not None
        assert last.metadata.deletion_timestamp.isoformat() == "2026-11-27T10:01:00+00:00"

    def test_that_replace_another_are_shown_instead_of_it(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92)])
        namespace.start()
        calls = namespace.watch_pods(
            event("MODIFIED", pod("a", 110, exited=137)),
            event("ADDED", pod("a", 111, name="second", second=5)),
            event("MODIFIED", pod("a", 112, exited=143)),
            event("DELETED", pod("a", 113, exited=143)),
            event("MODIFIED", pod("a", 114, name="second", second=5, exited=0)),
        )
        assert calls == [("update", "a=137"), ("update", "a"), ("update", "a=0")]

    def test_that_replace_a_deleted_one_within_its_second_are_shown_instead(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92)])
        namespace.start()
        calls = namespace.watch_pods(
            event("ADDED", pod("a", 111, name="second", exited=0)), event("DELETED", pod("a", 113, exited=143))
        )
        assert calls == [("update", "a=0")]

    def test_of_an_unknown_job_are_dropped_once_the_watch_of_jobs_is_past_them(self, namespace: Namespace) -> None:
        namespace.start()
        namespace.watch_pods(*(event("MODIFIED", pod(f"reported-{number}", 110)) for number in range(50)))
        assert len(namespace.held._early) == 50
        namespace.watch_jobs(bookmark(109))
        assert len(namespace.held._early) == 50
        namespace.watch_jobs(bookmark(110))
        assert not namespace.held._early
        namespace.watch_pods(event("MODIFIED", pod("reported-1", 108)))
        assert not namespace.held._early

    def test_of_thousands_of_reported_jobs_are_not_kept(self, namespace: Namespace) -> None:
        namespace.server.lists(
            jobs=[job("a", 90)], pods=[pod("a", 92), *(pod(f"reported-{number}", 95) for number in range(3000))]
        )
        namespace.start()
        assert (len(namespace.held._pods), len(namespace.held._early)) == (1, 0)
        for start in range(0, 3000, 1000):
            names = [f"reported-{number}" for number in range(start, start + 1000)]
            namespace.watch_pods(*(event("DELETED", pod(name, 200)) for name in names))
        assert (len(namespace.held._pods), len(namespace.held._early)) == (1, store.EARLY_PODS)

    def test_that_were_dropped_too_early_are_listed_again(
        self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "EARLY_PODS", 2)
        namespace.start()
        namespace.watch_pods(*(event("ADDED", pod(name, 120, exited=3)) for name in "abc"))
        assert namespace.watch_jobs(*(event("ADDED", job(name, 110)) for name in "abc")) == [
            ("update", "a"),
            ("update", "b=3"),
            ("update", "c=3"),
        ]
        namespace.server.lists(pods=[pod(name, 120, exited=3) for name in "abc"], version=130)
        assert namespace.watch_pods() == [("replace", "ci", "a=3", "b=3", "c=3")]
        namespace.watch_pods()
        assert namespace.server.did("list", "pods") == 1


@pytest.mark.parametrize("bad", ["", "abc", "-3"])
def test_versions_that_are_no_numbers_drop_early_pods_only(namespace: Namespace, bad: str) -> None:
    namespace.server.lists(jobs=[job("a", 90)])
    namespace.start()
    odd = pod("a", 0, exited=3)
    odd["metadata"]["resourceVersion"] = bad
    assert namespace.watch_pods(event("ADDED", odd)) == [("update", "a=3")]


def test_the_repr_of_a_source_has_its_version(namespace: Namespace) -> None:
    assert repr(namespace.jobs) == "ListAndWatch(kubernetes/ci jobs, version=none)"
    namespace.start()
    assert repr(namespace.jobs) == "ListAndWatch(kubernetes/ci jobs, version=100)"

    def test_keep_the_time_at_which_they_were_first_deleted(self, namespace: Namespace) -> None:
        """The kubelet deletes them again in the end, which replaces the time."""
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92)])
        namespace.start()
        namespace.watch_pods(event("MODIFIED", deleted(pod("a", 119), 30, grace=30)))
        namespace.watch_pods(event("MODIFIED", deleted(pod("a", 120, exited=2), 59)))
        assert first_deletion(namespace) == ("2026-11-27T10:00:00+00:00", {"marvin": True})

    def test_keep_it_when_they_are_listed_again(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[deleted(pod("a", 92), 30, grace=30)])
        namespace.start()
        namespace.fail(namespace.pods, sends(error(410)))
        namespace.server.lists(jobs=[job("a", 90)], pods=[deleted(pod("a", 120, exited=2), 59)], version=210)
        namespace.pods.follow(namespace.view)
        assert first_deletion(namespace) == ("2026-11-27T10:00:00+00:00", {"marvin": True})

    def test_keep_it_until_their_job_arrives(self, namespace: Namespace) -> None:
        namespace.start()
        early = [deleted(pod("a", 111), 30, grace=30), deleted(pod("a", 112, exited=2), 59)]
        namespace.watch_pods(*(event("MODIFIED", each) for each in early))
        namespace.watch_jobs(event("ADDED", job("a", 110)))
        assert first_deletion(namespace) == ("2026-11-27T10:00:00+00:00", {"marvin": True})

    def test_that_ended_before_they_were_deleted_are_known_as_such(self, namespace: Namespace) -> None:
        namespace.server.lists(jobs=[job("a", 90)], pods=[pod("a", 92, exited=137)])
        namespace.start()
        namespace.watch_pods(event("MODIFIED", deleted(pod("a", 120, exited=137), 59)))
        assert first_deletion(namespace) == ("2026-11-27T10:00:59+00:00", {"marvin": False})


def deleted(document: dict[str, Any], second: int, *, grace: int = 0) -> dict[str, Any]:
    """The pod, with a deletionTimestamp in the minute of its end."""
    deletion = {"deletionTimestamp": f"2026-11-27T10:00:{second}Z", "deletionGracePeriodSeconds": grace}
    return {**document, "metadata": {**document["metadata"], **deletion}}


def first_deletion(namespace: Namespace) -> tuple[str, dict[str, bool]]:
    """When the only pod was deleted, and by container whether that was before its end was shown."""
    (last,) = namespace.held._pods.values()
    assert last.deleted_at is not None
    return last.deleted_at.isoformat(), last.stopped
