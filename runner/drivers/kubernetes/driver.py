"""The Kubernetes driver: a Job for each job, and a Secret that the Job owns.

The Job is created first: its name is the lock. A crash before the Secret leaves pods that wait for it, and the repeat
that finds the Job puts it there. A Secret's name ends in a nonce that the Job carries, so that one left by an earlier
Job of this name, and about to be collected, can never be taken for it; and so that we need no right to read secrets.

Whatever the API server leaves open (a reset, a timeout, a 5xx) is settled by asking for the name.
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
from runner.drivers.kubernetes.api import MERGE_PATCH, ApiServerClient, ApiServerResponse, collection, refuse
from runner.drivers.kubernetes.manifest import (
    CANCELLED,
    FINGERPRINT,
    REPORTED,
    SECRET,
    encode_report,
    job_manifest,
    namespace,
    secret_manifest,
    tombstone_manifest,
)
from runner.drivers.kubernetes.observation import JobObject, JobPage, PodObject, PodPage, observation, shown_pod
from runner.errors import Conflict, OrchestratorError, Rejected, Timeout, Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.request_types import roles
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

BATCH, CORE = "apis/batch/v1", "api/v1"
PAGE = "500"
LOOK_SECONDS = 30.0
"""For the whole of a listing, a log or a mark; commands bring their own deadline."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds until an unsettled request is looked into again: doubled each time, with jitter (see Backoff)."""

TAIL_LINES = 20
"""Of a failed job's log, as evidence."""

_OURS = "manager=runner"


class KubernetesDriver:
    """Jobs on one cluster, in as many namespaces as the pools name."""

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
        where = namespace(self._config, job.pool)
        manifest = job_manifest(job, self._config, nonce=self._random.randbytes(4).hex())
        created = self._create(where, manifest, deadline)
        known = created or self._get(where, job.name, deadline)
        if known is None:
            raise Unavailable(f"{job.name} vanished while it was being created; repeat the request")
        state = "created" if created else _repeat(known, job, manifest)
        if state != "cancelled" and not known.begun:
            self._put_secret(where, job, known, deadline)
        return state

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        states = [self._cancel_in(where, cancellation, deadline, False) for where in self._namespaces()]
        if not any(states) and tombstone:
            states = [self._cancel_in(where, cancellation, deadline, True) for where in self._namespaces()]
        return "cancelled" if "cancelled" in states else next(filter(None, states), None)

    def list(self) -> Iterator[Observation]:
        """See Driver.list."""
        yield from each_of(self._namespaces(), self._listed)

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. Deadlines, retries and the time-to-live are Kubernetes' own."""
        return 0

    def _listed(self, where: str) -> Iterator[Observation]:
        """The jobs first: a job ends after its pod, so one that has ended is never shown with a pod that still runs."""
        deadline = Deadline.after(LOOK_SECONDS, self._clock)
        jobs = tuple(self._pages(where, BATCH, "jobs", _OURS, JobPage, deadline))
        pods: dict[str, PodObject] = {}
        for pod in self._pages(where, CORE, "pods", _our_pods(), PodPage, deadline):
            pods[pod.job] = shown_pod(pods.get(pod.job), pod)
        for job in jobs:
            yield self._with_log(where, job, pods.get(job.metadata.name), deadline)

    def _with_log(self, where: str, job: JobObject, pod: PodObject | None, deadline: Deadline) -> Observation:
        """What is seen of a job; of one that failed and is still to be told of, with the end of its log."""
        seen = observation(job, pod, self.name)
        if pod is None or seen.phase != "failed" or seen.cancelled or seen.reported:
            return seen
        with suppress(OrchestratorError):  # evidence, if it is to be had
            tail = self._log(where, pod, pod.talking, TAIL_LINES, deadline)
            return msgspec.structs.replace(seen, log_tail=tail)
        return seen

    def mark_reported(self, name: str, outcome: Outcome) -> None:
        """See Driver.mark_reported. Arms the Job's time-to-live: from now on Kubernetes may remove it."""
        patch = {
            "metadata": {"annotations": {REPORTED: outcome.reason}},
            "spec": {"ttlSecondsAfterFinished": self._config.limits.retention_seconds},
        }
        deadline = Deadline.after(LOOK_SECONDS, self._clock)
        for where in self._namespaces():
            path = collection(BATCH, where, "jobs", name)
            refuse(self._patient("PATCH", path, deadline, patch, MERGE_PATCH), f"patch jobs in namespace {where}")

    def logs(self, name: str, container: str = "", lines: int = 200) -> str:
        """See Driver.logs."""
        deadline = Deadline.after(LOOK_SECONDS, self._clock)
        for where in self._namespaces():
            query = f"{_our_pods()},batch.kubernetes.io/job-name={name}"
            pod: PodObject | None = None
            for each in self._pages(where, CORE, "pods", query, PodPage, deadline):
                pod = shown_pod(pod, each)
            if pod is not None:
                return self._log(where, pod, container or pod.talking, lines, deadline)
        raise Rejected(f"{name} has no pod: there is no such job, it has not been scheduled, or its pod is gone")

    def check(self) -> None:
        """See Driver.check."""
        for where in self._namespaces():
            path = collection(BATCH, where, "jobs")
            answer = self._api.call("GET", path, Deadline.after(5, self._clock), query={"limit": "1"})
            refuse(answer, f"list jobs in namespace {where}")

    def _create(self, where: str, manifest: Mapping[str, Any], deadline: Deadline) -> JobObject | None:
        """The Job if we made it (or must assume that we did), None where the name was taken already."""
        name = manifest["metadata"]["name"]
        for _ in self._attempts(deadline):
            try:
                answer = self._api.call("POST", collection(BATCH, where, "jobs"), deadline, body=manifest)
                refuse(answer, f"create jobs in namespace {where}")
            except Unsettled as error:
                if (found := self._settle(where, name, deadline, error)) is not None:
                    return found if _same_attempt(found, manifest) else None
                continue
            if answer.status == 404:
                raise Rejected(f"the namespace {where} does not exist: {answer.message}")
            if answer.taken:
                return None
            if answer.status == 409:
                continue
            return msgspec.json.decode(answer.body, type=JobObject)
        raise Unavailable(f"the API server left open whether {name} exists; repeat the request")

    def _settle(self, where: str, name: str, deadline: Deadline, doubt: Unsettled) -> JobObject | None:
        """After an answer that left it open: is the Job there? Raises Unavailable where that cannot be learnt."""
        try:
            return self._get(where, name, deadline)
        except Timeout as error:
            raise Unavailable(f"{doubt.detail}; repeat the request") from error

    def _get(self, where: str, name: str, deadline: Deadline) -> JobObject | None:
        answer = self._patient("GET", collection(BATCH, where, "jobs", name), deadline)
        refuse(answer, f"get jobs in namespace {where}")
        return None if answer.status == 404 else msgspec.json.decode(answer.body, type=JobObject)

    def _put_secret(self, where: str, job: JobSpec, owner: JobObject, deadline: Deadline) -> None:
        name = owner.metadata.annotations.get(SECRET, "")
        manifest = secret_manifest(
            job, self._config, self._resolve_secrets(job), name=name, owner_uid=owner.metadata.uid
        )
        for _ in self._attempts(deadline):
            answer = self._patient("POST", collection(CORE, where, "secrets"), deadline, manifest)
            refuse(answer, f"create secrets in namespace {where}")
            if answer.status == 404:
                raise Rejected(f"the namespace {where} does not exist any more: {answer.message}")
            if answer.status != 409 or answer.taken:
                return
        raise Unavailable(f"the secret of {job.name} could not be made yet: {answer.message}; repeat the request")

    def _patient(
        self, method: str, path: str, deadline: Deadline, body: Any = None, media: str = "application/json"
    ) -> ApiServerResponse:
        """A request that may be repeated without harm, repeated until it has an answer or the deadline comes."""
        doubt: Unsettled | None = None
        for _ in self._attempts(deadline):
            try:
                answer = self._api.call(method, path, deadline, body=body, media=media)
            except Unsettled as error:
                doubt = error
                continue
            if answer.status < 500:
                return answer
            doubt = Unsettled(f"the API server answered {method} {path} with {answer.message}")
        raise Unavailable(f"{doubt.detail if doubt else 'no answer'}; repeat the request") from doubt

    def _cancel_in(self, where: str, cancellation: Cancellation, deadline: Deadline, tombstone: bool) -> State | None:
        """One write under the job's name: a patch of what is there, else, if wanted, a tombstone."""
        for _ in self._attempts(deadline):
            known = self._get(where, cancellation.name, deadline)
            if (known is None or known.tombstone) and not tombstone:
                return None
            if known is None:
                if self._create(where, self._tombstone(where, cancellation), deadline):
                    return "cancelled"
                continue
            if known.cancelled or known.ended:
                return "cancelled" if known.cancelled else "exists"
            path = collection(BATCH, where, "jobs", cancellation.name)
            answer = self._patient("PATCH", path, deadline, _stop(known, cancellation), MERGE_PATCH)
            refuse(answer, f"patch jobs in namespace {where}")
            if answer.status == 200:
                return "cancelled"
            # 409: the Job changed since it was read; 404: it went. Look again.
        raise Unavailable(f"{cancellation.name} kept changing while it was being cancelled; repeat the request")

    def _tombstone(self, where: str, cancellation: Cancellation) -> dict[str, Any]:
        pool = next(pool for pool in self._pools if namespace(self._config, pool) == where)
        return tombstone_manifest(cancellation, self._config, pool)

    def _pages(
        self, where: str, group: str, kind: str, selector: str, page: type[Any], deadline: Deadline
    ) -> Iterator[Any]:
        """All objects that the selector selects, a page at a time; starts over where a page has expired (410)."""
        proceed = ""
        while True:
            query = {"labelSelector": selector, "limit": PAGE, **({"continue": proceed} if proceed else {})}
            answer = self._api.call("GET", collection(group, where, kind), deadline, query=query)
            if answer.status == 410:
                proceed = ""
                continue
            refuse(answer, f"list {kind} in namespace {where}")
            if answer.status == 404:  # an empty namespace has an empty list, and one that is not there as well
                raise Unavailable(f"what answers for the API server has no {kind} in {where}: {answer.message}")
            listed = msgspec.json.decode(answer.body, type=page)
            yield from listed.items
            proceed = listed.metadata.proceed
            if not proceed:
                return

    def _log(self, where: str, pod: PodObject, container: str, lines: int, deadline: Deadline) -> str:
        path = collection(CORE, where, "pods", pod.metadata.name, "log")
        query = {"container": container, "tailLines": str(lines)}
        answer = self._api.call("GET", path, deadline, query=query)
        if answer.status == 400:  # not started yet, or no such container: the API server says which
            raise Rejected(answer.message)
        refuse(answer, f"get pods/log in namespace {where}")
        return answer.body.decode(errors="replace")

    def _attempts(self, deadline: Deadline) -> Iterator[None]:
        return attempts(deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random))

    def _namespaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(namespace(self._config, pool) for pool in self._pools))


def _our_pods() -> str:
    """Selects the pods of every request type, and nobody else's."""
    return f"role in ({','.join(roles())})"


def _repeat(known: JobObject, job: JobSpec, manifest: Mapping[str, Any]) -> State:
    """What a submit finds under a taken name. It may be our own Job: a request can be sent twice on its way."""
    if known.cancelled:
        return "cancelled"
    if _same_attempt(known, manifest):
        return "created"
    if known.metadata.annotations.get(FINGERPRINT) != job.fingerprint:
        raise Conflict(f"{job.name} exists already and was made from a different request; a new run needs a new run_id")
    return "exists"


def _same_attempt(found: JobObject, manifest: Mapping[str, Any]) -> bool:
    """Is it the Job of this very create? Its nonce says so; a tombstone has none, and any tombstone will do."""
    wanted = manifest["metadata"]["annotations"]
    return found.metadata.annotations.get(SECRET) == wanted.get(SECRET) and (SECRET in wanted or found.cancelled)


def _stop(known: JobObject, cancellation: Cancellation) -> dict[str, Any]:
    """End the pods gracefully and the Job truly; only if it is still as it was read, so no end is overwritten."""
    held = {"parallelism": 0} if known.spec.suspend else {}  # a queue may resume it
    return {
        "metadata": {
            "resourceVersion": known.metadata.resource_version,
            "annotations": {CANCELLED: encode_report(cancellation.report)},
        },
        "spec": {"activeDeadlineSeconds": 1, **held},
    }
