"""One submit: create the Job, which takes the name, then its Secret, without which no container starts.

Where pools lead to several places, the Job is created as a claim, and the Secret follows once it is admitted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from runner.config.types import Config
from runner.drivers.claiming import OtherPlaces, Taking, claimed, is_in
from runner.drivers.claims import NEW, Claim, Standing, answer, rerouted
from runner.drivers.kubernetes.claims import NamespacePlace, standing_of
from runner.drivers.kubernetes.manifest import COMPLETE, SECRET, job_manifest, namespace_of, secret_manifest
from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.kubernetes.objects import JobObject
from runner.drivers.several import AtOnce
from runner.errors import Unavailable
from runner.jobs import JobSpec, ResolveSecrets, State
from runner.runtime.clock import Deadline


class RequestJobs:
    """The jobs of one request: what an earlier sending of it has made, and which of their Secrets exist. Thread-safe.

    The driver may not read Secrets, and finding out by a create costs the cluster a create. So each Job that the
    request creates has an annotation with the names of the Secrets that were created since the Job before. It is
    written after they were. A Secret's name is never used for another one, and nothing deletes one before its Job. So a
    crash makes no annotation untrue. Secrets that none has named, those of the last Jobs before a crash, are created
    again, which finds that they exist.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], JobObject] = {}
        self._complete: set[str] = set()
        self._unnamed: list[str] = []
        self._lock = threading.Lock()  # never held during a wait

    def __repr__(self) -> str:
        return f"RequestJobs({len(self._found)} exist, {len(self._complete)} Secrets known)"

    def read(self, places: Sequence[tuple[KubernetesNamespace, str]], deadline: Deadline, at_once: AtOnce) -> None:
        """Read the Jobs, each a namespace and a name, if the first one exists."""
        first, *others = (partial(self._read, namespace, name, deadline) for namespace, name in places)
        first()
        if self._found:
            at_once(others)

    def _read(self, namespace: KubernetesNamespace, name: str, deadline: Deadline) -> None:
        if (job := namespace.job(name, deadline)) is not None:
            self._found[namespace.name, name] = job
            self._complete.update(job.metadata.annotations.get(COMPLETE, "").split())

    def found(self, namespace: str, name: str) -> JobObject | None:
        """The Job as it was read; None if it did not exist, or was not read."""
        return self._found.get((namespace, name))

    def is_complete(self, secret: str) -> bool:
        """Whether the Secret exists, as another Job says."""
        return secret in self._complete

    def completed(self, *secrets: str) -> None:
        """The Secrets exist. The next Job names them."""
        with self._lock:
            self._unnamed += secrets

    def take_unnamed(self) -> Sequence[str]:
        """The Secrets that exist and that no Job names yet."""
        with self._lock:
            taken, self._unnamed = self._unnamed, []
        return taken


class JobSubmission:
    """Creates one job in its pool's namespace, or finds it. See Taking."""

    def __init__(
        self,
        job: JobSpec,
        config: Config,
        resolve_secrets: ResolveSecrets,
        namespace_named: Callable[[str], KubernetesNamespace],
        random: Random,
        request: RequestJobs,
    ) -> None:
        self._job = job
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._namespace_named = namespace_named
        self._random = random
        self._request = request
        self._namespace = namespace_named(namespace_of(config, job.pool))
        self._nonce = random.randbytes(4).hex()
        self._secret = f"{job.name}-{self._nonce}"
        self._known: JobObject | None = None
        self.place = NamespacePlace(self._namespace)

    def alone(self, deadline: Deadline) -> State | None:
        """Create the job where all pools lead to this place. None if its name is a claim that is not settled."""
        known = self._create("", deadline)
        if known.claim == NEW or known.yielded:
            return None
        return self._complete(standing_of(known, self.place.name), deadline)

    def claim(self, others: OtherPlaces, deadline: Deadline) -> State:
        """Create the job where pools lead to several places."""
        standing, taking = claimed(self._job, self, others, deadline)
        if isinstance(taking, JobSubmission) and is_in(standing, taking.place):
            return taking._complete(standing, deadline)
        return others.answer(standing, self._job, deadline)

    def complete(self, deadline: Deadline) -> State:
        """Create the missing Secret of a Job that has the name. Raises Unavailable if none has it any more."""
        standing = self.place.standing(self._job.name, deadline)
        if standing is None or not standing.holds_name:
            raise Unavailable(f"{self._job.name} is being created in another place; repeat the request", retry_after=1)
        return self._complete(standing, deadline)

    def take(self, deadline: Deadline) -> Standing | None:
        """See Taking.take."""
        return standing_of(self._create(NEW, deadline), self.place.name)

    def admit(self, mine: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Taking.admit. The Secret follows."""
        return self.place.move(mine, claim, deadline)

    def in_place_of(self, standing: Standing) -> Taking | None:
        """See Taking.in_place_of. A namespace that no pool names any more cannot be completed from here."""
        if standing.driver != self.place.driver or not standing.pool:
            return None
        job = rerouted(self._job, standing)
        if namespace_of(self._config, job.pool) != standing.place:
            return None
        config, resolve_secrets, namespace_named = self._config, self._resolve_secrets, self._namespace_named
        return JobSubmission(job, config, resolve_secrets, namespace_named, self._random, self._request)

    def _create(self, claim: Claim, deadline: Deadline) -> JobObject:
        """The Job that has the name now: this one, if it was free."""
        self._known = self._request.found(self._namespace.name, self._job.name)
        if self._known is not None:
            return self._known
        complete = self._request.take_unnamed()
        manifest = job_manifest(self._job, self._config, nonce=self._nonce, claim=claim, complete=complete)
        created = self._namespace.create(manifest, deadline)
        if created is None:
            self._request.completed(*complete)
        self._known = created or self._namespace.job(self._job.name, deadline)
        if self._known is None:
            raise Unavailable(f"{self._job.name} was deleted while it was being created; repeat the request")
        return self._known

    def _complete(self, standing: Standing, deadline: Deadline) -> State:
        """Create the Secret, unless it is known to exist. It may be missing: its maker may have died before it."""
        known = self._known if self._known and self._known.metadata.uid == standing.identity else None
        known = known or self._namespace.job(self._job.name, deadline)
        if known is None:
            raise Unavailable(f"{self._job.name} was deleted while it was being created; repeat the request")
        state = "created" if known.metadata.annotations.get(SECRET) == self._secret else answer(standing, self._job)
        if known.cancelled and not known.ended_as:
            state = "cancelled"
        if state != "cancelled" and not known.started:
            self._put_secret(known, deadline)
        return state

    def _put_secret(self, owner: JobObject, deadline: Deadline) -> None:
        name = owner.metadata.annotations.get(SECRET, "")
        if self._request.is_complete(name):
            return
        values = self._resolve_secrets(self._job)
        manifest = secret_manifest(self._job, self._config, values, name=name, owner_uid=owner.metadata.uid)
        self._namespace.create_secret(manifest, deadline)
        self._request.completed(name)
