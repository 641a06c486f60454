"""Sources and LeaseStore on a real API server, as its administrator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from runner.config.drivers import KubernetesSection
from runner.drivers.driver import LeaderRecord, Source
from runner.drivers.http.curl import CurlHttpClient
from runner.drivers.kubernetes import source
from runner.drivers.kubernetes.api import ApiServerClient
from runner.drivers.kubernetes.lease import LeaseStore
from runner.drivers.kubernetes.source import ListAndWatch, namespace_sources
from runner.drivers.kubernetes.store import NamespaceStore
from runner.errors import Unavailable
from runner.runtime.clock import SystemClock
from tests.cluster import KubernetesAccess
from tests.harness.deadlines import within
from tests.kubernetes.jobs import analysis, until
from tests.kubernetes.namespaces import Namespace
from tests.unit.drivers.kubernetes.apiserver import RecordingView

# No node has the label: each pod stays Pending, and says why.
POOLS = {"nowhere": {"nodeSelector": {"no": "where"}}}


@pytest.fixture
def api(access: KubernetesAccess) -> ApiServerClient:
    return client(access)


def client(access: KubernetesAccess) -> ApiServerClient:
    clock = SystemClock()
    return ApiServerClient(
        KubernetesSection(kubeconfig=str(access.kubeconfig)), http=CurlHttpClient(clock), clock=clock
    )


@pytest.fixture
def submit(namespace: Namespace, sample: Callable[[str], Any]) -> Callable[[str], str]:
    """Submits the sample analysis under this run's id, and returns the job's name."""
    driver = namespace.driver(pools=POOLS)

    def submitted(run_id: str) -> str:
        job = analysis(namespace.config(pools=POOLS), sample, run_id, pool="nowhere")
        assert driver.submit(job, within(10)) == "created"
        return job.name

    return submitted


@contextmanager
def followed(sources: list[Source], view: RecordingView) -> Iterator[None]:
    """Follows each source in a thread, as the tracker does. Every session has to end well."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def follow(each: Source) -> None:
        try:
            while not stop.is_set():
                each.follow(view)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(each,), daemon=True) for each in sources]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def store_of(api: ApiServerClient, namespace: Namespace) -> NamespaceStore:
    return NamespaceStore(namespace.name, "kubernetes", SystemClock(), lambda: api.clock_ahead)


def test_jobs_are_shown_with_their_pods_and_leave_when_reported_or_deleted(
    namespace: Namespace, api: ApiServerClient, submit: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "WATCH_SECONDS", 3)
    view = RecordingView()
    before = submit("before")
    with followed(namespace_sources(api, store_of(api, namespace), SystemClock()), view):
        until(lambda: view.jobs, what="the job that was there before")
        names = [before, submit("second"), submit("third")]
        until(lambda: set(names) == set(view.jobs), what="the jobs that were submitted meanwhile")
        until(lambda: all(each.unschedulable for each in view.jobs.values()), what="the pods' conditions")

        namespace.kubectl("label", "job", names[0], "orchestrator/reported=succeeded")
        began = time.monotonic()
        until(lambda: names[0] not in view.jobs, seconds=5, what="the reported job to leave")
        assert time.monotonic() - began < 3
        namespace.kubectl("delete", "job", names[1])
        until(lambda: names[1] not in view.jobs, seconds=5, what="the deleted job to leave")
        time.sleep(4)  # sessions end and begin meanwhile
        late = submit("late")
        until(lambda: late in view.jobs, seconds=5, what="a job in a later session")
    assert [call[0] for call in view.calls].count("replace") == 1, "no session but the first lists"
    assert [call[1] for call in view.calls if call[0] == "left"] == names[:2]
    assert ("alive",) in view.calls


def test_a_watch_that_the_api_server_cannot_continue_is_followed_by_a_list(
    namespace: Namespace, api: ApiServerClient, submit: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "WATCH_SECONDS", 1)
    view = RecordingView()
    jobs, pods = namespace_sources(api, store_of(api, namespace), SystemClock())
    for each in (jobs, pods):
        each.follow(view)
        assert isinstance(each, ListAndWatch)
        each._version = "no number"
    name = submit("missed")
    for each in (jobs, pods):
        for _ in range(source.REFUSALS):
            with pytest.raises(Unavailable, match="no number"):
                each.follow(view)
        each.follow(view)
    assert list(view.jobs) == [name]


def test_of_20_writers_at_once_one_writes_the_lease(namespace: Namespace, access: KubernetesAccess) -> None:
    stores = [LeaseStore(client(access), namespace.name) for _ in range(20)]
    versions = [""]
    holder = ""
    with ThreadPoolExecutor(20) as writers:
        for number in range(5):
            wrote = list(
                writers.map(
                    lambda index: stores[index].write(f"{number}-{index}", versions[-1], within(20)),  # noqa: B023
                    range(20),
                )
            )
            (winner,) = [index for index, version in enumerate(wrote) if version]
            holder, version = f"{number}-{winner}", wrote[winner] or ""
            assert version not in versions
            versions.append(version)
            assert stores[0].read(within(5)) == LeaderRecord(holder, version)
    shown = namespace.kubectl("get", "lease", "orchestrator-tracker", "-o", "jsonpath={.spec.holderIdentity}")
    assert shown == holder


def test_a_released_and_a_deleted_lease_can_be_taken(namespace: Namespace, api: ApiServerClient) -> None:
    lease = LeaseStore(api, namespace.name)
    assert lease.read(within(5)) is None
    first = lease.write("a", "", within(5))
    assert first is not None
    released = lease.write("", first, within(5))
    assert released is not None
    assert lease.read(within(5)) == LeaderRecord("", released)
    taken = lease.write("b", released, within(5))
    assert taken is not None
    spec = namespace.kubectl("get", "lease", "orchestrator-tracker", "-o", "jsonpath={.spec}")
    assert '"leaseTransitions":1' in spec
    namespace.kubectl("delete", "lease", "orchestrator-tracker")
    assert lease.write("b", taken, within(5)) is None
    assert lease.write("b", "", within(5))
