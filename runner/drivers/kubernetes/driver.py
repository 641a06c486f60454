"""The Kubernetes driver: a Job for each job, and a Secret that the Job owns.

The Job is created first: its name is the lock. After a crash before the Secret is created, the pods wait for it, and a
repeated submit finds the Job and creates the Secret. A Secret's name ends in a nonce that an annotation of the Job
holds. So a Secret of an earlier Job of this name, not yet garbage-collected, is never used; and the driver needs no
permission to read secrets.

Each later change of a Job is one guarded patch (see `patches`), so the tracker, a cancel and another tracker never undo
each other's writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import msgspec

from runner.config.types import Config
from runner.drivers.claiming import OtherPlaces, Place
from runner.drivers.claims import ASSUMED, NEW, YIELDED
from runner.drivers.driver import Driver, Due, LeaderStore, Retention, Source, each_of
from runner.drivers.kubernetes import events, patches
from runner.drivers.kubernetes.api import ApiServerClient
from runner.drivers.kubernetes.claims import NamespacePlace, due_claims, settle_all, yields_before_end
from runner.drivers.kubernetes.manifest import namespace_of, tombstone_manifest
from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.kubernetes.objects import JobObject, Metadata, PodObject
from runner.drivers.kubernetes.observation import is_reported, observation, reported_as
from runner.drivers.kubernetes.pods.versions import latest_of, latest_pod
from runner.drivers.kubernetes.store import NamespaceStore
from runner.drivers.kubernetes.submission import JobSubmission, RequestJobs
from runner.drivers.logs.following import Received, follow
from runner.drivers.logs.kubernetes import KubernetesLogSource, last_log, last_pod_log
from runner.drivers.several import AtOnce, Submit
from runner.errors import Unavailable
from runner.jobs import Cancellation, JobSpec, ResolveSecrets, State
from runner.observation import Observation, Outcome
from runner.outcomes import classify, contradicts, kept
from runner.runtime.backoff import Backoff, attempts
from runner.runtime.clock import Clock, Deadline

LIST_SECONDS = 30.0
"""The deadline of what the tracker asks for: a listing, a log, a mark. Commands pass their own deadline."""

SETTLE_SECONDS = 15.0
"""Between two lists of the jobs whose claim is assumed, where pools lead to other engines."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds before an unsettled request is repeated: doubled each time, with jitter (see Backoff)."""


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
        names = dict.fromkeys(namespace_of(config, pool) for pool in self._pools)
        self._namespaces = tuple(self._namespace(name) for name in names)
        self._engines: Sequence[Driver] = ()
        self._stores: dict[str, NamespaceStore] = {}  # by namespace; only in the tracker
        self._settle_at = 0.0

    def __repr__(self) -> str:
        return f"KubernetesDriver({self._api!r}, namespaces={[each.name for each in self._namespaces]})"

    def submit(self, job: JobSpec, deadline: Deadline) -> State:
        """See Driver.submit."""
        return self._submit(RequestJobs(), job, deadline)

    def submitter(self, jobs: Sequence[JobSpec], deadline: Deadline, at_once: AtOnce) -> Submit:
        """See Driver.submitter."""
        request = RequestJobs()
        places = [(self._namespace(namespace_of(self._config, job.pool)), job.name) for job in jobs]
        request.read(places, deadline, at_once)
        return partial(self._submit, request)

    def _submit(self, request: RequestJobs, job: JobSpec, deadline: Deadline) -> State:
        submission, several = self._submission(job, request), len(self._namespaces) > 1 or self._engines
        if not several and (state := submission.alone(deadline)):
            return state
        return submission.claim(self._other_places(), deadline)

    def _submission(self, job: JobSpec, request: RequestJobs) -> JobSubmission:
        return JobSubmission(job, self._config, self._resolve_secrets, self._namespace, self._random, request)

    def complete(self, job: JobSpec, deadline: Deadline) -> State | None:
        """See Driver.complete."""
        return self._submission(job, RequestJobs()).complete(deadline)

    def places(self) -> Sequence[Place]:
        """See Driver.places."""
        return [NamespacePlace(each) for each in self._namespaces]

    def join(self, engines: Sequence[Driver]) -> None:
        """See Driver.join."""
        self._engines = engines

    def cancel(self, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool) -> State | None:
        """See Driver.cancel."""
        states = [self._cancel_in(each, cancellation, deadline, False) for each in self._namespaces]
        if not any(states) and tombstone:
            states = [self._cancel_in(each, cancellation, deadline, True) for each in self._namespaces]
        return "cancelled" if "cancelled" in states else next(filter(None, states), None)

    def list(self) -> Iterator[Observation]:
        """See Driver.list."""
        yield from each_of(self._namespaces, self._listed)

    def sources(self) -> Sequence[Source]:
        """See Driver.sources."""
        from runner.drivers.kubernetes.source import namespace_sources  # only the tracker needs it

        names = [each.name for each in self._namespaces]
        self._stores = {
            name: NamespaceStore(name, self.name, self._clock, lambda: self._api.clock_ahead) for name in names
        }
        return [
            source for store in self._stores.values() for source in namespace_sources(self._api, store, self._clock)
        ]

    def election(self) -> LeaderStore:
        """See Driver.election. The Lease is in the namespace of the kubernetes section, if it has jobs of ours."""
        from runner.drivers.kubernetes.lease import LeaseStore  # only the tracker needs it

        names = [each.name for each in self._namespaces]
        main = self._config.cluster.namespace
        return LeaseStore(self._api, main if main in names else names[0])

    def find(self, seen: Observation) -> Observation | None:
        """See Driver.find."""
        namespace, deadline = self._namespace(seen.place), self._soon()
        job = namespace.job(seen.name, deadline)
        return None if job is None else self._observed(namespace, job, deadline)

    def explain(self, seen: Observation) -> Observation:
        """See Driver.explain. Once there is a pod, an earlier refusal to make one is history; a lost one is none."""
        namespace, deadline = self._namespace(seen.place), self._soon()
        job = JobObject(metadata=Metadata(name=seen.name, uid=seen.identity))  # as far as its pods need it
        pod = self._pod_of(namespace, job, deadline)
        if pod is None or pod.over:
            facts = events.refusal(namespace.events(seen.identity, deadline))
        else:
            facts = events.wait(seen, namespace.events(pod.metadata.uid, deadline))
        return msgspec.structs.replace(seen, **facts)

    def end(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.end. Also False if it was cancelled, has ended by itself, or no longer waits for that reason."""
        namespace, deadline = self._namespace(seen.place), self._soon()
        for _ in self._attempts(deadline):
            known = namespace.job(seen.name, deadline)
            if known is None or known.metadata.uid != seen.identity or known.cancelled or known.yielded:
                return False
            place = NamespacePlace(namespace)
            if known.claim in (NEW, ASSUMED) and yields_before_end(known, place, self._other_places(), deadline):
                return False
            if known.ended_as or (known.ended and known.claim != ASSUMED):
                return known.ended_as is not None and known.ended_as.reason == outcome.reason
            if contradicts(self._observed(namespace, known, deadline), seen, outcome):
                return False
            if namespace.json_patch(seen.name, patches.end_patch(known, outcome), deadline):
                return True
        raise Unavailable(f"{seen.name} kept changing while it was being ended; end it again")

    def mark_reported(self, seen: Observation, outcome: Outcome) -> bool:
        """See Driver.mark_reported."""
        retention = self._config.limits.retention_seconds
        patch = patches.reported_patch(seen, outcome, retention)
        return self._namespace(seen.place).json_patch(seen.name, patch, self._soon())

    def set_aside(self, seen: Observation, outcome: Outcome, answer: str = "") -> bool:
        """See Driver.set_aside."""
        patch = patches.set_aside_patch(seen, outcome, answer)
        return self._namespace(seen.place).json_patch(seen.name, patch, self._soon())

    def count_set_aside(self) -> int:
        """See Driver.count_set_aside."""
        return sum(each_of(self._namespaces, lambda namespace: [namespace.set_aside(self._soon())]))

    def resend(self, seen: Observation) -> bool:
        """See Driver.resend."""
        namespace, deadline = self._namespace(seen.place), self._soon()
        for _ in self._attempts(deadline):
            known = namespace.job(seen.name, deadline)
            if known is None or known.metadata.uid != seen.identity or known.yielded:
                return False
            if known.metadata.deletion_timestamp is not None or not is_reported(known):
                return False
            stored = kept(self._observed(namespace, known, deadline), reported_as(known))
            if namespace.merge_patch(seen.name, patches.resend_patch(known, stored), deadline):
                return True
        raise Unavailable(f"{seen.name} kept changing while its mark was taken away; repeat the command")

    def reconcile(self, expired: Retention | None = None) -> int:
        """See Driver.reconcile. Kubernetes itself enforces deadlines, retries and the time-to-live."""
        if self._engines and self._clock.monotonic() >= self._settle_at:
            self._settle_at = self._clock.monotonic() + SETTLE_SECONDS
            settle_all(self._namespaces, self._other_places(), self._soon())
        return 0

    def due(self, _expired: Retention) -> Iterator[Due]:
        """See Driver.due."""
        return due_claims(self._namespaces if self._engines else (), self._soon())

    def logs(self, name: str, container: str = "", lines: int = 200, seen: Observation | None = None) -> str:
        """See Driver.logs."""
        deadline = self._soon()
        if seen and seen.instance and container:
            return last_pod_log(self._namespace(seen.place), seen.instance, container, lines, deadline)
        return last_log(self._namespaces, name, container, lines, deadline)

    def follow_logs(self, seen: Observation, received: Received, container: str = "") -> None:
        """See Driver.follow_logs."""
        source = KubernetesLogSource(self._namespace(seen.place), seen, container, self._clock)
        follow(source, received, self._clock)

    def check(self) -> None:
        """See Driver.check."""
        for namespace in self._namespaces:
            namespace.check(Deadline.after(5, self._clock))

    def _listed(self, namespace: KubernetesNamespace) -> Iterator[Observation]:
        """List Jobs before pods. A Job ends after its pod, so no ended Job is shown with a pod that still runs."""
        deadline = self._soon()
        jobs = {job.metadata.name: job for job in namespace.jobs(deadline)}
        pods: dict[str, PodObject] = {}
        for pod in namespace.pods(deadline):
            if (job := jobs.get(pod.job)) and pod.belongs_to(job):
                pods[pod.job] = latest_pod(pods.get(pod.job), pod)
        for name, job in jobs.items():
            if not job.yielded:
                yield observation(job, pods.get(name), self.name, self._api.clock_ahead)

    def _other_places(self) -> OtherPlaces:
        return OtherPlaces.of(self.places(), self._engines)

    def _cancel_in(
        self, namespace: KubernetesNamespace, cancellation: Cancellation, deadline: Deadline, tombstone: bool
    ) -> State | None:
        """Patch the Job of that name if it exists; else, with `tombstone`, create one.

        A claim counts as no job: the job may be made in another place, which must get a tombstone.
        """
        for _ in self._attempts(deadline):
            known = namespace.job(cancellation.name, deadline)
            if (known is None or known.tombstone or known.claim in (NEW, YIELDED)) and not tombstone:
                return None
            if known is None:
                if namespace.create(self._tombstone(namespace, cancellation), deadline):
                    return "cancelled"
                continue
            if known.cancelled:
                return _cancelled_as(known.ended_as)
            # How the run had ended by itself. One that has yielded was ended by us.
            ended = None if known.yielded else known.ended_as or classify(self._observed(namespace, known, deadline))
            if namespace.merge_patch(cancellation.name, patches.cancel_patch(cancellation, known, ended), deadline):
                return _cancelled_as(ended)
            # The Job changed since it was read, or it was deleted. Read it again.
        raise Unavailable(f"{cancellation.name} kept changing while it was being cancelled; repeat the request")

    def _observed(self, namespace: KubernetesNamespace, job: JobObject, deadline: Deadline) -> Observation:
        return observation(job, self._pod_of(namespace, job, deadline), self.name, self._api.clock_ahead)

    def _pod_of(self, namespace: KubernetesNamespace, job: JobObject, deadline: Deadline) -> PodObject | None:
        """The Job's latest pod. In the tracker, with what its watch has shown of the pod's deletion."""
        pods = namespace.pods(deadline, job.metadata.name)
        pod = latest_of(pods, job)
        store = self._stores.get(namespace.name)
        return store.with_history(pod) if store and pod else pod

    def _tombstone(self, namespace: KubernetesNamespace, cancellation: Cancellation) -> dict[str, Any]:
        pool = next(pool for pool in self._pools if namespace_of(self._config, pool) == namespace.name)
        return tombstone_manifest(cancellation, self._config, pool)

    def _namespace(self, name: str) -> KubernetesNamespace:
        return KubernetesNamespace(self._api, name, self._attempts)

    def _soon(self) -> Deadline:
        return Deadline.after(LIST_SECONDS, self._clock)

    def _attempts(self, deadline: Deadline) -> Iterator[None]:
        return attempts(deadline, Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random))


def _cancelled_as(ended: Outcome | None) -> State:
    return "exists" if ended else "cancelled"
