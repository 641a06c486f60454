"""One submit: create the Job, which takes the name, then its Secret, without which no container starts.

Where pools lead to several places, the Job is created as a claim, and the Secret follows once it is admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from runner.config.types import Config
from runner.drivers.claiming import Elsewhere, Taking, claimed, is_in
from runner.drivers.claims import NEW, Claim, Standing, answer, rerouted
from runner.drivers.kubernetes.claims import NamespacePlace, standing_of
from runner.drivers.kubernetes.manifest import SECRET, job_manifest, namespace_of, secret_manifest
from runner.drivers.kubernetes.namespace import KubernetesNamespace
from runner.drivers.kubernetes.objects import JobObject
from runner.errors import Unavailable
from runner.jobs import JobSpec, ResolveSecrets, State
from runner.runtime.clock import Deadline


class JobSubmission:
    """Creates one job in its pool's namespace, or finds it. See Taking."""

    def __init__(
        self,
        job: JobSpec,
        config: Config,
        resolve_secrets: ResolveSecrets,
        namespace_named: Callable[[str], KubernetesNamespace],
        random: Random,
    ) -> None:
        self._job = job
        self._config = config
        self._resolve_secrets = resolve_secrets
        self._namespace_named = namespace_named
        self._random = random
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

    def claim(self, elsewhere: Elsewhere, deadline: Deadline) -> State:
        """Create the job where pools lead to several places."""
        standing, taking = claimed(self._job, self, elsewhere, deadline)
        if isinstance(taking, JobSubmission) and is_in(standing, taking.place):
            return taking._complete(standing, deadline)
        return elsewhere.answer(standing, self._job, deadline)

    def complete(self, deadline: Deadline) -> State:
        """Create the missing Secret of a Job that has the name. Raises Unavailable if none has it any more."""
        standing = self.place.standing(self._job.name, deadline)
        if standing is None or not standing.settled:
            raise Unavailable(f"{self._job.name} is being created in another place; repeat the request", retry_after=1)
        return self._complete(standing, deadline)

    def take(self, deadline: Deadline) -> Standing | None:
        """See Taking.take."""
        return standing_of(self._create(NEW, deadline), self.place.name)

    def admit(self, mine: Standing, claim: Claim, deadline: Deadline) -> bool:
        """See Taking.admit. The Secret follows."""
        return self.place.move(mine, claim, deadline)

    def elsewhere(self, standing: Standing) -> Taking | None:
        """See Taking.elsewhere. A namespace that no pool names any more cannot be completed from here."""
        if standing.driver != self.place.driver or not standing.pool:
            return None
        job = rerouted(self._job, standing)
        if namespace_of(self._config, job.pool) != standing.place:
            return None
        return JobSubmission(job, self._config, self._resolve_secrets, self._namespace_named, self._random)

    def _create(self, claim: Claim, deadline: Deadline) -> JobObject:
        """The Job that has the name now: this one, if it was free."""
        manifest = job_manifest(self._job, self._config, nonce=self._nonce, claim=claim)
        created = self._namespace.create(manifest, deadline)
        self._known = created or self._namespace.job(self._job.name, deadline)
        if self._known is None:
            raise Unavailable(f"{self._job.name} was deleted while it was being created; repeat the request")
        return self._known

    def _complete(self, standing: Standing, deadline: Deadline) -> State:
        """Create the Secret, unless a pod has started. It may be missing: its maker may have died before it."""
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
        values = self._resolve_secrets(self._job)
        manifest = secret_manifest(self._job, self._config, values, name=name, owner_uid=owner.metadata.uid)
        self._namespace.create_secret(manifest, deadline)
