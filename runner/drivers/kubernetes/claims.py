"""The claim to a name in one namespace is the annotation CLAIM of its Job.

The Job of a new claim has no Secret, so nothing starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from runner.drivers import claiming
from runner.drivers.claiming import OtherPlaces
from runner.drivers.claims import ASSUMED, NEW, YIELDED, Claim, Standing
from runner.drivers.driver import Due
from runner.drivers.kubernetes import patches
from runner.drivers.kubernetes.manifest import FINGERPRINT, POOL
from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.kubernetes.objects import JobObject
from runner.drivers.kubernetes.observation import is_reported, observation
from runner.drivers.kubernetes.pods.versions import latest_of
from runner.runtime.clock import Deadline

_DRIVER = "kubernetes"


class NamespacePlace:
    """One namespace. See Place. Reads by name are consistent (no resourceVersion is passed)."""

    driver = _DRIVER

    def __init__(self, namespace: KubernetesNamespace) -> None:
        self.name = namespace.name
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"{self.driver} {self.name}"

    def standing(self, name: str, deadline: Deadline) -> Standing | None:
        """See Place.standing."""
        job = self.namespace.job(name, deadline)
        return standing_of(job, self.name) if job else None

    def move(self, standing: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Place.move."""
        if claim == YIELDED:
            if standing.claim != NEW and self._succeeded(standing, deadline):
                return False
            patch = patches.yield_patch(standing.identity, standing.claim, standing.version)
        elif standing.claim == ASSUMED:
            patch = patches.settle_patch(standing.identity)
        else:
            patch = patches.claim_patch(standing.identity, standing.claim, claim)
        return self.namespace.json_patch(standing.name, patch, deadline)

    def _succeeded(self, standing: Standing, deadline: Deadline) -> bool:
        """Whether its pod shows that its program has succeeded. The Job itself says so seconds later."""
        job = self.namespace.job(standing.name, deadline)
        if job is None or job.metadata.uid != standing.identity:
            return False
        pod = latest_of(self.namespace.pods(deadline, standing.name), job)
        return observation(job, pod, self.driver).phase == "succeeded"


def yields_before_end(job: JobObject, place: NamespacePlace, others: OtherPlaces, deadline: Deadline) -> bool:
    """Settle a new or an assumed claim before its job is ended. Returns whether it has yielded."""
    return claiming.settle_before_end(standing_of(job, place.name), place, others, deadline) == YIELDED


def settle_all(namespaces: Iterable[KubernetesNamespace], others: OtherPlaces, deadline: Deadline) -> None:
    """Settle every assumed claim, also of jobs that are reported. What other engines answer is asked once."""
    for namespace in namespaces:
        place = NamespacePlace(namespace)
        for job in namespace.jobs(deadline, claim=ASSUMED):
            claiming.settle(standing_of(job, namespace.name), place, others, deadline)


def due_claims(namespaces: Iterable[KubernetesNamespace], deadline: Deadline) -> Iterator[Due]:
    """What `settle_all` would settle."""
    for namespace in namespaces:
        for job in namespace.jobs(deadline, claim=ASSUMED):
            yield Due.settling(job.metadata.name, namespace.name)


def standing_of(job: JobObject, place: str) -> Standing:
    """The standing of a Job's name in its namespace."""
    annotations = job.metadata.annotations
    return Standing(
        name=job.metadata.name,
        driver=_DRIVER,
        place=place,
        identity=job.metadata.uid,
        claim=cast(Claim, job.claim),
        fingerprint=annotations.get(FINGERPRINT, ""),
        pool=annotations.get(POOL, ""),
        cancelled=job.cancelled and not job.ended_as,
        over=job.cancelled or (not job.yielded and bool(job.ended_as or job.ended)),
        published=job.cancelled or (not job.yielded and bool(job.ended_as or job.completed or is_reported(job))),
        version=job.metadata.resource_version,
    )
