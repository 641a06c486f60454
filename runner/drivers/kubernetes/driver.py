"""The Kubernetes driver: a Job for each job, and a Secret that the Job owns.

The Job is created first: its name is the lock. After a crash before the Secret is created, the pods wait for it, and a
repeated submit finds the Job and creates the Secret. A Secret's name ends in a nonce that an annotation of the Job
holds. So a Secret of an earlier Job of this name, not yet garbage-collected, is never used; and the driver needs no
permission to read secrets.

If the result of a request is unknown (a reset, a timeout, a 5xx), the driver reads the Job to find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from random import Random
from typing import Any

import msgspec

from runner.config.types import Config
from runner.drivers.driver import Retention, each_of
from runner.drivers.http.client import Unsettled
from runner.drivers.kubernetes.api import MERGE_PATCH, ApiServerClient, ApiServerResponse, collection, raise_for_status
from runner.drivers.kubernetes.manifest import (
    FINGERPRINT,
    SECRET,
    job_manifest,
    namespace_of,
    pod_selector,
    reported_patch,
    secret_manifest,
    stop_patch,
    tombstone_manifest,
)
from runner.drivers.kubernetes.objects import JobObject, JobPage, PodObject, PodPage
from runner.drivers.kubernetes.observation import latest_pod, observation
from runner.errors import Conflict, OrchestratorError, Rejected, Timeout, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

BATCH, CORE = "apis/batch/v1", "api/v1"
PAGE = "500"
LIST_SECONDS = 30.0
"""The deadline for a listing, for reading a log and for `mark_reported`. Commands pass their own deadline."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds before an unsettled request is repeated: doubled each time, with jitter (see Backoff)."""

TAIL_LINES = 20
"""The lines of a failed job's log that are kept as evidence."""

_OURS = "manager=runner"


class KubernetesDriver:
    """Jobs on one cluster, in every namespace that a pool names."""

    name = "kubernetes"

    def __init__(
        self, config: Config, *, resolve_secrets: ResolveSecrets, api: ApiServerClient, clock: Clock, random: Random
    ) -> None:
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._api = api
        self._clock = clock
        self._random = random
        self._pools = [pool for pool in config.pool_names() if config.driver_of(pool) == self.name]

    def __repr__(self) -> str:
        return f"KubernetesDriver({self._api!r}, namespaces={self._namespaces()})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        namespace = namespace_of(self._config, job.pool)
        manifest = job_manifest(job, self._config, nonce=self._random.randbytes(4).hex())
        created = self._create(namespace, manifest, deadline)
        known = created or self._get(namespace, job.name, deadline)
        if known is None:
            raise Unavailable(f"{job.name} was deleted while it was being created; repeat the request")
        state = "created" if created else _repeat(known, job, manifest)
        if state != "cancelled" and not known.started:
            self._put_secret(namespace, job, known, deadline)
        return state

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        states = [self._cancel_in(namespace, cancellation, deadline, False) for namespace in self._namespaces()]
        if not any(states) and tombstone:
            states = [self._cancel_in(namespace, cancellation, deadline, True) for namespace in self._namespaces()]
        return "cancelled" if "cancelled" in states else next(filter(None, states), None)

    def list(self) -> Iterator[Observation]:
        """See Driver.list."""
        yield from each_of(self._namespaces(), self._listed)

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. Nothing to do: Kubernetes enforces deadlines, retries and the time-to-live."""
        return 0

    def _listed(self, namespace: str) -> Iterator[Observation]:
        """List Jobs before pods. A Job ends after its pod, so no ended Job is shown with a pod that still runs."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        jobs = tuple(self._pages(namespace, BATCH, "jobs", _OURS, JobPage, deadline))
        pods: dict[str, PodObject] = {}
        for pod in self._pages(namespace, CORE, "pods", pod_selector(), PodPage, deadline):
            pods[pod.job] = latest_pod(pods.get(pod.job), pod)
        for job in jobs:
            yield self._with_log_tail(namespace, job, pods.get(job.metadata.name), deadline)

    def _with_log_tail(self, namespace: str, job: JobObject, pod: PodObject | None, deadline: Deadline) -> Observation:
        """The job's observation. If it failed and was not yet reported, with the last lines of its log."""
        seen = observation(job, pod, self.name)
        if pod is None or seen.phase != "failed" or seen.cancelled or seen.reported:
            return seen
        with suppress(OrchestratorError):  # the log is optional evidence
            tail = self._log(namespace, pod, pod.log_container, TAIL_LINES, deadline)
            return msgspec.structs.replace(seen, log_tail=tail)
        return seen

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported. Sets the Job's time-to-live, after which Kubernetes removes it."""
        patch = reported_patch(outcome, self._config)
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for namespace in self._namespaces():
            path = collection(BATCH, namespace, "jobs", name)
            response = self._send_until_answered("PATCH", path, deadline, patch, MERGE_PATCH)
            raise_for_status(response, f"patch jobs in namespace {namespace}")

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        deadline = Deadline.after(LIST_SECONDS, self._clock)
        for namespace in self._namespaces():
            query = f"{pod_selector()},batch.kubernetes.io/job-name={name}"
            pod: PodObject | None = None
            for each in self._pages(namespace, CORE, "pods", query, PodPage, deadline):
                pod = latest_pod(pod, each)
            if pod is not None:
                return self._log(namespace, pod, container or pod.log_container, lines, deadline)
        raise Rejected(f"{name} has no pod: there is no such job, it has not been scheduled, or its pod is gone")

    def check(self) -> None:
        """See Driver.check."""
        for namespace in self._namespaces():
            path = collection(BATCH, namespace, "jobs")
            response = self._api.call("GET", path, Deadline.after(5, self._clock), query={"limit": "1"})
            raise_for_status(response, f"list jobs in namespace {namespace}")

    def _create(self, namespace: str, manifest: Mapping[str, Any], deadline: Deadline) -> JobObject | None:
        """The Job if this call created it (or may have created it), None if a Job of that name existed."""
        name = manifest["metadata"]["name"]
        for _ in self._attempts(deadline):
            try:
                response = self._api.call("POST", collection(BATCH, namespace, "jobs"), deadline, body=manifest)
                raise_for_status(response, f"create jobs in namespace {namespace}")
            except Unsettled as error:
                if (found := self._settle(namespace, name, deadline, error)) is not None:
                    return found if _same_attempt(found, manifest) else None
                continue
            if response.status == 404:
                raise Rejected(_no_namespace(namespace, response))
            if response.already_exists:
                return None
            if response.status == 409:
                continue
            return msgspec.json.decode(response.body, type=JobObject)
        raise Unavailable(f"the API server did not say whether {name} was created; repeat the request")

    def _settle(self, namespace: str, name: str, deadline: Deadline, unsettled: Unsettled) -> JobObject | None:
        """Read the Job after a create with an unknown result. Raises Unavailable if that fails."""
        try:
            return self._get(namespace, name, deadline)
        except Timeout as error:
            raise Unavailable(f"{unsettled.detail}; repeat the request") from error

    def _get(self, namespace: str, name: str, deadline: Deadline) -> JobObject | None:
        response = self._send_until_answered("GET", collection(BATCH, namespace, "jobs", name), deadline)
        raise_for_status(response, f"get jobs in namespace {namespace}")
        return None if response.status == 404 else msgspec.json.decode(response.body, type=JobObject)

    def _put_secret(self, namespace: str, job: JobSpec, owner: JobObject, deadline: Deadline) -> None:
        name = owner.metadata.annotations.get(SECRET, "")
        manifest = secret_manifest(
            job, self._config, self._resolve_secrets(job), name=name, owner_uid=owner.metadata.uid
        )
        for _ in self._attempts(deadline):
            response = self._send_until_answered("POST", collection(CORE, namespace, "secrets"), deadline, manifest)
            raise_for_status(response, f"create secrets in namespace {namespace}")
            if response.status == 404:
                raise Rejected(_no_namespace(namespace, response))
            if response.status != 409 or response.already_exists:
                return
        raise Unavailable(f"the Secret of {job.name} was not created: {response.message}; repeat the request")

    def _send_until_answered(
        self, method: str, path: str, deadline: Deadline, body: Any = None, media: str = "application/json"
    ) -> ApiServerResponse:
        """Send an idempotent request; repeat it until it has a response below 500 or the deadline passes."""
        unsettled: Unsettled | None = None
        for _ in self._attempts(deadline):
            try:
                response = self._api.call(method, path, deadline, body=body, media=media)
            except Unsettled as error:
                unsettled = error
                continue
            if response.status < 500:
                return response
            unsettled = Unsettled(f"the API server answered {method} {path} with {response.message}")
        raise Unavailable(f"{unsettled.detail if unsettled else 'no response'}; repeat the request") from unsettled

    def _cancel_in(
        self, namespace: str, cancellation: Cancellation, deadline: Deadline, tombstone: bool
    ) -> State | None:
        """Patch the Job of that name if it exists; else, with `tombstone`, create one."""
        for _ in self._attempts(deadline):
            known = self._get(namespace, cancellation.name, deadline)
            if (known is None or known.tombstone) and not tombstone:
                return None
            if known is None:
                if self._create(namespace, self._tombstone(namespace, cancellation), deadline):
                    return "cancelled"
                continue
            if known.cancelled or known.ended:
                return "cancelled" if known.cancelled else "exists"
            path = collection(BATCH, namespace, "jobs", cancellation.name)
            patch = stop_patch(cancellation, known.metadata.resource_version, suspended=known.spec.suspend)
            response = self._send_until_answered("PATCH", path, deadline, patch, MERGE_PATCH)
            raise_for_status(response, f"patch jobs in namespace {namespace}")
            if response.status == 200:
                return "cancelled"
            # 409: the Job changed since it was read; 404: it was deleted. Read it again.
        raise Unavailable(f"{cancellation.name} kept changing while it was being cancelled; repeat the request")

    def _tombstone(self, namespace: str, cancellation: Cancellation) -> dict[str, Any]:
        pool = next(pool for pool in self._pools if namespace_of(self._config, pool) == namespace)
        return tombstone_manifest(cancellation, self._config, pool)

    def _pages(
        self, namespace: str, group: str, kind: str, selector: str, page: type[Any], deadline: Deadline
    ) -> Iterator[Any]:
        """All objects that the selector matches, page by page. Starts again if a page has expired (410)."""
        next_page = ""
        while True:
            query = {"labelSelector": selector, "limit": PAGE, **({"continue": next_page} if next_page else {})}
            response = self._api.call("GET", collection(group, namespace, kind), deadline, query=query)
            if response.status == 410:
                next_page = ""
                continue
            raise_for_status(response, f"list {kind} in namespace {namespace}")
            if response.status == 404:  # an API server returns an empty list even for a missing namespace
                raise Unavailable(
                    f"the server at the API server's address has no {kind} in {namespace}: {response.message};"
                    " check the address in the kubeconfig"
                )
            listed = msgspec.json.decode(response.body, type=page)
            yield from listed.items
            next_page = listed.metadata.next_page
            if not next_page:
                return

    def _log(self, namespace: str, pod: PodObject, container: str, lines: int, deadline: Deadline) -> str:
        path = collection(CORE, namespace, "pods", pod.metadata.name, "log")
        query = {"container": container, "tailLines": str(lines)}
        response = self._api.call("GET", path, deadline, query=query)
        if response.status == 400:  # not started yet, or no such container; the message says which
            raise Rejected(response.message)
        raise_for_status(response, f"get pods/log in namespace {namespace}")
        return response.body.decode(errors="replace")

    def _attempts(self, deadline: Deadline) -> Iterator[None]:
        return attempts(deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random))

    def _namespaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(namespace_of(self._config, pool) for pool in self._pools))


def _no_namespace(namespace: str, response: ApiServerResponse) -> str:
    return f"the namespace {namespace} does not exist: {response.message}; create it, or correct the configuration"


def _repeat(known: JobObject, job: JobSpec, manifest: Mapping[str, Any]) -> State:
    """The state that a submit returns if the Job exists. It may have created it itself: a request can arrive twice."""
    if known.cancelled:
        return "cancelled"
    if _same_attempt(known, manifest):
        return "created"
    if known.metadata.annotations.get(FINGERPRINT) != job.fingerprint:
        raise Conflict(f"{job.name} exists already and was made from a different request; a new run needs a new run_id")
    return "exists"


def _same_attempt(found: JobObject, manifest: Mapping[str, Any]) -> bool:
    """Whether this create made the Job: both have the same nonce. A tombstone has none; any tombstone counts."""
    wanted = manifest["metadata"]["annotations"]
    return found.metadata.annotations.get(SECRET) == wanted.get(SECRET) and (SECRET in wanted or found.cancelled)
