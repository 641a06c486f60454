"""LeaseStore against an API server that keeps one Lease."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.drivers.driver import LeaderRecord
from runner.drivers.kubernetes.lease import LeaseStore
from runner.errors import Busy, OrchestratorError, Rejected, Unavailable
from runner.runtime.clock import Deadline
from tests.harness.clock import ManualClock
from tests.harness.deadlines import within
from tests.harness.scripted_server import Conversation, scripted_server
from tests.unit.drivers.kubernetes.apiserver import client_of

PATH = "/apis/coordination.k8s.io/v1/namespaces/ci/leases"


class Leases:
    """The namespace's leases: one or none. With `refusal`, every request gets that status."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.refusal = 0

    def serve(self, conversation: Conversation) -> None:
        while True:
            request = conversation.receive()
            status = self.refusal or self._status(request.method, request.path, request.body)
            conversation.answer(status, json.dumps(self.lease if status < 300 else {"message": "no"}).encode())

    def _status(self, method: str, path: str, body: bytes) -> int:
        if method == "POST":
            assert path == PATH
            return 409 if self.lease else self._keep(201, json.loads(body))
        assert path == f"{PATH}/orchestrator-tracker"
        if method == "GET":
            return 200 if self.lease else 404
        sent = json.loads(body)
        if self.lease is None:  # a Lease is created on update
            return 409 if sent["metadata"]["uid"] else self._keep(201, sent)
        matches = all(
            sent["metadata"][name] in ("", self.lease["metadata"][name]) for name in ("resourceVersion", "uid")
        )
        return self._keep(200, sent) if matches else 409

    def _keep(self, status: int, sent: dict[str, Any]) -> int:
        self.version += 1
        sent["metadata"] |= {"resourceVersion": str(self.version), "uid": "u"}
        self.lease = sent
        return status

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def url(leases: Leases) -> Iterator[str]:
    with scripted_server(leases.serve) as server:
        yield server.url


@pytest.fixture
def lease(url: str, tmp_path: Path) -> LeaseStore:
    return LeaseStore(client_of(url, tmp_path), "ci")


@pytest.fixture
def other(url: str, tmp_path: Path) -> LeaseStore:
    """Another tracker's."""
    return LeaseStore(client_of(url, tmp_path), "ci")


def test_is_named_in_the_log(lease: LeaseStore) -> None:
    assert lease.where == "Lease ci/orchestrator-tracker"


def test_each_write_needs_the_version_of_the_one_before(lease: LeaseStore, other: LeaseStore) -> None:
    assert lease.read(within(5)) is None
    first = lease.write("a", "", within(5))
    assert first is not None
    assert other.read(within(5)) == LeaderRecord("a", first)
    second = lease.write("a", first, within(5))
    assert second not in (None, first)
    assert other.write("b", first, within(5)) is None
    assert other.write("b", "", within(5)) is None
    assert lease.read(within(5)) == LeaderRecord("a", second)


def test_a_release_is_read_as_no_holder(lease: LeaseStore, other: LeaseStore) -> None:
    version = lease.write("a", "", within(5))
    released = lease.write("", version or "", within(5))
    assert other.read(within(5)) == LeaderRecord("", released)


def test_a_write_to_a_deleted_lease_fails(lease: LeaseStore, leases: Leases) -> None:
    version = lease.write("a", "", within(5))
    leases.lease = None
    assert lease.write("a", version or "", within(5)) is None


def test_a_lease_that_somebody_emptied_has_no_holder(lease: LeaseStore, leases: Leases) -> None:
    leases.lease = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": None}}
    assert lease.read(within(5)) == LeaderRecord("", "7")


def test_people_see_the_holder_and_its_times(lease: LeaseStore, other: LeaseStore, leases: Leases) -> None:
    clock = ManualClock(wall=1_700_000_000.25)
    deadline = Deadline.after(1000, clock)
    version = lease.write("a", "", deadline) or ""
    began = "2023-11-14T22:13:20.250000Z"
    assert leases.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 10,
        "acquireTime": began,
        "renewTime": began,
        "leaseTransitions": 0,
    }
    clock.advance(2)
    version = lease.write("a", version, deadline) or ""
    assert leases.spec["acquireTime"] == began
    assert leases.spec["renewTime"] == "2023-11-14T22:13:22.250000Z"
    clock.advance(2)
    lease.write("", version, deadline)
    assert (leases.spec["holderIdentity"], leases.spec["leaseTransitions"]) == ("", 0)
    _, version, _ = other.read(deadline) or LeaderRecord("", "")
    other.write("b", version, deadline)
    assert leases.spec["acquireTime"] == leases.spec["renewTime"] == "2023-11-14T22:13:24.250000Z"
    assert leases.spec["leaseTransitions"] == 1


def test_the_accepted_results_are_an_annotation(lease: LeaseStore, other: LeaseStore, leases: Leases) -> None:
    version = lease.write("a", "", within(5))
    version = lease.write("a", version or "", within(5), ["a-result", "another"])
    assert other.read(within(5)) == LeaderRecord("a", version or "", ("a-result", "another"))
    assert leases.lease is not None
    assert leases.lease["metadata"]["annotations"] == {"orchestrator/accepted": "a-result another"}
    version = lease.write("a", version or "", within(5))
    assert other.read(within(5)) == LeaderRecord("a", version or "")


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (403, Rejected, "not allowed to"),
        (429, Busy, "throttling"),
        (500, Unavailable, "leases in namespace ci"),
    ],
)
def test_an_error_is_raised(
    lease: LeaseStore, leases: Leases, status: int, kind: type[OrchestratorError], text: str
) -> None:
    leases.refusal = status
    with pytest.raises(kind, match=text):
        lease.read(within(5))
    for version in ("", "7"):
        with pytest.raises(kind, match=text):
            lease.write("a", version, within(5))


def test_a_missing_namespace_is_an_error_and_not_a_lost_election(lease: LeaseStore, leases: Leases) -> None:
    leases.refusal = 404
    assert lease.read(within(5)) is None
    with pytest.raises(Rejected, match="the namespace ci does not exist"):
        lease.write("a", "", within(5))


def test_a_lease_that_cannot_be_read_is_an_error(lease: LeaseStore, leases: Leases) -> None:
    leases.lease = {"metadata": {"resourceVersion": "7"}, "spec": 3}
    with pytest.raises(Unavailable, match="cannot be read"):
        lease.read(within(5))


def test_only_the_contract_is_public(lease: LeaseStore) -> None:
    assert [name for name in dir(lease) if not name.startswith("_")] == ["read", "where", "write"]
