"""The record of who leads the trackers of a namespace: a Lease, as the cluster's own controllers use it.

A write carries the resourceVersion that was read, so of several writers one succeeds. It carries the uid as well, since
the API server creates a Lease on update: without the uid, a write would succeed after the Lease was deleted.

`kubectl get lease` shows the leader and `kubectl describe` the times; no decision depends on them. Fields: Kubernetes
API reference, coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from runner.drivers.driver import LeaderRecord
from runner.drivers.kubernetes.api import ApiServerClient, ApiServerResponse, collection, raise_for_status
from runner.drivers.kubernetes.objects import Metadata
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.errors import Rejected, Unavailable
from runner.runtime.clock import Clock, Deadline

LEASE = "orchestrator-tracker"
ACCEPTED = "orchestrator/accepted"
"""The annotation with LeaderRecord.accepted: ids with spaces between them."""

LEASE_SECONDS = 10
"""What the record states for others to read: after so many seconds without a renewal, another tracker leads."""


class LeaseStore:
    """See LeaderStore. One thread at a time may use it."""

    def __init__(self, api: ApiServerClient, namespace: str) -> None:
        self.where = f"Lease {namespace}/{LEASE}"
        self._api = api
        self._namespace = namespace
        self._known = _Lease()
        """As last read or written: a write keeps what it does not change."""

    def __repr__(self) -> str:
        return f"LeaseStore({self.where})"

    def read(self, deadline: Deadline) -> LeaderRecord | None:
        """See LeaderStore.read."""
        response = self._api.call("GET", self._path(LEASE), deadline)
        self._check(response, "get")
        if response.status == 404:
            return None
        self._known = lease = self._decode(response)
        accepted = tuple(lease.metadata.annotations.get(ACCEPTED, "").split())
        return LeaderRecord(lease.spec.holder_identity or "", lease.metadata.resource_version, accepted)

    def write(self, holder: str, version: str, deadline: Deadline, accepted: Sequence[str] = ()) -> str | None:
        """See LeaderStore.write."""
        known = self._known if version and self._known.metadata.resource_version == version else _Lease()
        spec = _renewed(known.spec, holder, deadline.clock)
        metadata: dict[str, Any] = {"annotations": {ACCEPTED: " ".join(accepted)}} if accepted else {}
        if version:
            metadata |= {"resourceVersion": version, "uid": known.metadata.uid}
            response = self._api.call("PUT", self._path(LEASE), deadline, body=self._manifest(spec, metadata))
            self._check(response, "update")
        else:
            response = self._api.call("POST", self._path(), deadline, body=self._manifest(spec, metadata))
            self._check(response, "create")
            if response.status == 404:
                raise Rejected(f"the namespace {self._namespace} does not exist: {response.message}; create it")
        if response.status in (404, 409):
            return None
        written = self._decode(response).metadata
        self._known = _Lease(metadata=written, spec=spec)
        return written.resource_version

    def _path(self, *name: str) -> str:
        return collection("apis/coordination.k8s.io/v1", self._namespace, "leases", *name)

    def _check(self, response: ApiServerResponse, action: str) -> None:
        raise_for_status(response, f"{action} leases in namespace {self._namespace}")

    def _decode(self, response: ApiServerResponse) -> _Lease:
        try:
            return msgspec.json.decode(response.body, type=_Lease)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"{self.where} cannot be read: {error}; delete it, and a tracker makes it anew"
            ) from error

    def _manifest(self, spec: _LeaseSpec, metadata: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": self._namespace, **metadata},
            "spec": spec,
        }


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(NullIsAbsent, frozen=True):
    metadata: Nullable[Metadata] = Metadata()
    spec: Nullable[_LeaseSpec] = _LeaseSpec()


def _renewed(spec: _LeaseSpec, holder: str, clock: Clock) -> _LeaseSpec:
    """The record after a write by this holder. A transition is a change to another holder, as in client-go."""
    now = datetime.fromtimestamp(clock.wall(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    transitions = spec.lease_transitions or 0
    stays = holder in ("", spec.holder_identity)
    return _LeaseSpec(
        holder_identity=holder,
        lease_duration_seconds=LEASE_SECONDS,
        acquire_time=spec.acquire_time if stays else now,
        renew_time=now,
        lease_transitions=transitions if stays or spec.acquire_time is None else transitions + 1,
    )
