"""The requests of the driver to one namespace, each as one method with typed values. It decides nothing.

If the result of a request is unknown (a reset, a timeout, a 5xx), an idempotent request is repeated; after a create the
Job is read to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from runner.drivers.http.client import Unsettled
from runner.drivers.kubernetes.api import (
    MERGE_PATCH,
    METADATA_LIST,
    ApiServerClient,
    ApiServerResponse,
    Receive,
    collection,
    raise_for_status,
)
from runner.drivers.kubernetes.events import EventObject, EventPage
from runner.drivers.kubernetes.manifest import CANCELLED, CLAIM, SECRET, SET_ASIDE, pod_selector
from runner.drivers.kubernetes.objects import JOB_NAME, JobObject, PageMetadata, PodObject
from runner.drivers.kubernetes.patches import JSON_PATCH
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.errors import Rejected, Timeout, Unavailable
from runner.runtime.clock import Deadline

BATCH, CORE = "apis/batch/v1", "api/v1"
PAGE = "500"
_OURS = "manager=runner"


class JobPage(NullIsAbsent, frozen=True):
    """A page of Jobs."""

    items: tuple[JobObject, ...] | None
    metadata: Nullable[PageMetadata] = PageMetadata()


class PodPage(NullIsAbsent, frozen=True):
    """A page of Pods."""

    items: tuple[PodObject, ...] | None
    metadata: Nullable[PageMetadata] = PageMetadata()


class AnyPage(msgspec.Struct, frozen=True):
    """A page of objects that are counted."""

    items: tuple[msgspec.Raw, ...] | None
    metadata: Nullable[PageMetadata] = PageMetadata()


class KubernetesNamespace:
    """One namespace of one cluster. `attempts` yields once per attempt until the deadline, and waits in between."""

    def __init__(self, api: ApiServerClient, name: str, attempts: Callable[[Deadline], Iterator[None]]) -> None:
        self._api = api
        self.name = name
        self.attempts = attempts

    def __repr__(self) -> str:
        return f"KubernetesNamespace({self.name})"

    def job(self, name: str, deadline: Deadline) -> JobObject | None:
        """The Job of that name; None if there is none."""
        response = self._send_until_answered("GET", self._path(BATCH, "jobs", name), deadline)
        raise_for_status(response, f"get jobs in namespace {self.name}")
        return None if response.status == 404 else msgspec.json.decode(response.body, type=JobObject)

    def create(self, manifest: Mapping[str, Any], deadline: Deadline) -> JobObject | None:
        """The Job if this call created it (or may have created it), None if a Job of that name existed."""
        name = manifest["metadata"]["name"]
        for _ in self.attempts(deadline):
            try:
                response = self._api.call("POST", self._path(BATCH, "jobs"), deadline, body=manifest)
                raise_for_status(response, f"create jobs in namespace {self.name}")
            except Unsettled as error:
                if (found := self._read_after_create(name, deadline, error)) is not None:
                    return found if same_attempt(found, manifest) else None
                continue
            self._must_exist(response)
            if response.already_exists:
                return None
            if response.status == 409:
                continue
            return msgspec.json.decode(response.body, type=JobObject)
        raise Unavailable(f"the API server did not say whether {name} was created; repeat the request")

    def create_secret(self, manifest: Mapping[str, Any], deadline: Deadline) -> None:
        """Create the Secret unless it exists."""
        for _ in self.attempts(deadline):
            response = self._send_until_answered("POST", self._path(CORE, "secrets"), deadline, manifest)
            raise_for_status(response, f"create secrets in namespace {self.name}")
            self._must_exist(response)
            if response.status != 409 or response.already_exists:
                return
        name = manifest["metadata"]["name"]
        raise Unavailable(f"the Secret {name} was not created: {response.message}; repeat the request")

    def merge_patch(self, name: str, patch: Mapping[str, Any], deadline: Deadline) -> bool:
        """Apply a merge patch to the Job. False if its resourceVersion is another, or the Job is gone."""
        response = self._send_until_answered("PATCH", self._path(BATCH, "jobs", name), deadline, patch, MERGE_PATCH)
        raise_for_status(response, f"patch jobs in namespace {self.name}")
        return response.status == 200

    def json_patch(self, name: str, operations: list[dict[str, Any]], deadline: Deadline) -> bool:
        """Apply a JSON patch to the Job. False if one of its tests failed (422), or the Job is gone."""
        response = self._send_until_answered("PATCH", self._path(BATCH, "jobs", name), deadline, operations, JSON_PATCH)
        if response.status == 422:
            return False
        raise_for_status(response, f"patch jobs in namespace {self.name}")
        return response.status == 200

    def jobs(self, deadline: Deadline, claim: str = "") -> Iterator[JobObject]:
        """Every Job of ours, or those with this claim; the latter from the server's cache, so a little late."""
        query = {"labelSelector": _OURS}
        if claim:
            query = {"labelSelector": f"{_OURS},{CLAIM}={claim}", "resourceVersion": "0"}
        return self._pages(BATCH, "jobs", query, JobPage, deadline)

    def set_aside(self, deadline: Deadline) -> int:
        """How many Jobs are set aside, from the server's cache. It sends their metadata alone."""
        query = {"labelSelector": f"{_OURS},{SET_ASIDE}", "resourceVersion": "0"}
        return sum(1 for _ in self._pages(BATCH, "jobs", query, AnyPage, deadline, accept=METADATA_LIST))

    def pods(self, deadline: Deadline, job: str = "") -> Iterator[PodObject]:
        """Every pod of our Jobs, or of the Job of that name."""
        selector = f"{pod_selector()},{JOB_NAME}={job}" if job else pod_selector()
        return self._pages(CORE, "pods", {"labelSelector": selector}, PodPage, deadline)

    def events(self, uid: str, deadline: Deadline) -> list[EventObject]:
        """The events of the object with that uid. The API server scans all events of the namespace for them."""
        return list(self._pages(CORE, "events", {"fieldSelector": f"involvedObject.uid={uid}"}, EventPage, deadline))

    def log_text(self, pod: str, container: str, lines: int, deadline: Deadline) -> str:
        """The last lines of a container's log. Raises Rejected if it has not started, or there is no such container.

        Also if the pod of that name is gone.
        """
        response = self._log(pod, container, {"tailLines": str(lines)}, deadline)
        if response.status in (400, 404):  # the message says which
            raise Rejected(response.message)
        return response.body.decode(errors="replace")

    def log_bytes(self, pod: str, container: str, query: Mapping[str, str], deadline: Deadline) -> bytes | None:
        """A container's log; None if it has none, or the pod is gone."""
        response = self._log(pod, container, query, deadline)
        return None if response.status in (400, 404) else response.body

    def _log(self, pod: str, container: str, query: Mapping[str, str], deadline: Deadline) -> ApiServerResponse:
        path = self._path(CORE, "pods", pod, "log")
        response = self._api.call("GET", path, deadline, query={"container": container, **query})
        if response.status != 400:
            raise_for_status(response, f"get pods/log in namespace {self.name}")
        return response

    def stream_log(
        self,
        pod: str,
        container: str,
        query: Mapping[str, str],
        deadline: Deadline,
        received: Receive,
        silence_seconds: float,
    ) -> ApiServerResponse:
        """Pass on each line of a container's log until the container ends. Returns the response, for any status."""
        wanted = {"container": container, "follow": "true", **query}
        return self._api.watch(self._path(CORE, "pods", pod, "log"), wanted, deadline, received, silence_seconds)

    def check(self, deadline: Deadline) -> None:
        """Check that Jobs can be listed."""
        response = self._api.call("GET", self._path(BATCH, "jobs"), deadline, query={"limit": "1"})
        raise_for_status(response, f"list jobs in namespace {self.name}")

    def _path(self, group: str, kind: str, *names: str) -> str:
        return collection(group, self.name, kind, *names)

    def _read_after_create(self, name: str, deadline: Deadline, unsettled: Unsettled) -> JobObject | None:
        """Read the Job after a create with an unknown result. Raises Unavailable if that fails."""
        try:
            return self.job(name, deadline)
        except Timeout as error:
            raise Unavailable(f"{unsettled.detail}; repeat the request") from error

    def _must_exist(self, response: ApiServerResponse) -> None:
        if response.status == 404:
            raise Rejected(
                f"the namespace {self.name} does not exist: {response.message}; create it, or correct the configuration"
            )

    def _send_until_answered(
        self, method: str, path: str, deadline: Deadline, body: Any = None, media: str = "application/json"
    ) -> ApiServerResponse:
        """Send an idempotent request; repeat it until it has a response below 500 or the deadline passes."""
        unsettled: Unsettled | None = None
        for _ in self.attempts(deadline):
            try:
                response = self._api.call(method, path, deadline, body=body, media=media)
            except Unsettled as error:
                unsettled = error
                continue
            if response.status < 500:
                return response
            unsettled = Unsettled(f"the API server answered {method} {path} with {response.message}")
        raise Unavailable(f"{unsettled.detail if unsettled else 'no response'}; repeat the request") from unsettled

    def _pages(
        self, group: str, kind: str, query: Mapping[str, str], page: type[Any], deadline: Deadline, accept: str = ""
    ) -> Iterator[Any]:
        """All objects that the query matches, page by page. Starts again if a page has expired (410)."""
        next_page = ""
        while True:
            of_page = {**query, "limit": PAGE, **({"continue": next_page} if next_page else {})}
            response = self._api.call("GET", self._path(group, kind), deadline, query=of_page, accept=accept)
            if response.status == 410:
                next_page = ""
                continue
            raise_for_status(response, f"list {kind} in namespace {self.name}")
            if response.status == 404:  # an API server returns an empty list even for a missing namespace
                raise Unavailable(
                    f"the server at the API server's address has no {kind} in {self.name}: {response.message};"
                    " check the address in the kubeconfig"
                )
            listed = msgspec.json.decode(response.body, type=page)
            yield from listed.items or ()
            next_page = listed.metadata.next_page
            if not next_page:
                return


def same_attempt(found: JobObject, manifest: Mapping[str, Any]) -> bool:
    """Whether this create made the Job: both have the same nonce. A tombstone has none; any tombstone counts."""
    wanted = manifest["metadata"]["annotations"]
    same = found.metadata.annotations.get(SECRET) == wanted.get(SECRET)
    return same and (SECRET in wanted or CANCELLED in found.metadata.annotations)
