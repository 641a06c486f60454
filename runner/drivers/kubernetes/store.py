"""What two watches have shown of one namespace: its jobs that are not reported, and the latest pod of each.

    watch of jobs ─▶ jobs ─┐
                           ├─▶ observations ─▶ view
    watch of pods ─▶ pods ─┘
                  └▶ early pods (their Job is not known yet)

The two watches are independent: a pod may arrive before its Job. Most pods in a namespace belong to jobs that are
reported, which the watch of jobs leaves out. The versions distinguish the two. All kinds of objects are numbered by one
counter, etcd's revision; so a pod that is no newer than what the watch of jobs has reached has no Job in this view.

A Job's failure may arrive before that of the pod that caused it. Such a job is held back until its pod shows an end or
the watch of pods has reached the Job's version: without its pod, the failure would get a wrong reason.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable

from runner.drivers.driver import View
from runner.drivers.kubernetes.objects import JobObject, PodObject
from runner.drivers.kubernetes.observation import identified, observation
from runner.drivers.kubernetes.pods.versions import deleted, later, order_made
from runner.drivers.kubernetes.reasons import POD_FAILED
from runner.observation import Observation
from runner.runtime.clock import Clock

EARLY_PODS, DROPPED_NAMES = 1000, 10_000
"""How many pods are kept whose Job is not known (the oldest are dropped), and how many names of the dropped."""

CAUSE_SECONDS = 120.0
"""How long a failed job is held back for the cause, at the most: versions may not be comparable after all."""

_POD_ENDED = frozenset({"Succeeded", "Failed"})


class NamespaceStore:
    """Joins jobs and pods, and passes the observations on to the view once both kinds have been listed.

    Any thread may call it. The lock is also held while the view is called, so that the view gets the observations of a
    job in their order. Nothing waits while holding it: a view does no I/O.
    """

    _jobs: dict[str, JobObject]
    _pods: dict[str, PodObject]  # the latest of each known job, by the job's name; also if it was deleted since
    _early: dict[str, PodObject]  # of jobs that are not known, by the job's name
    _dropped: dict[str, None]  # the names of jobs whose early pod was dropped
    _jobs_version: int  # what the watch of jobs has reached
    _pods_version: int
    _changed: dict[str, float]  # the names of jobs that were not passed on since they changed; and since when

    def __init__(self, place: str, driver: str, clock: Clock, clock_ahead: Callable[[], float]) -> None:
        self.place = place
        self.driver = driver
        self._clock = clock
        self._clock_ahead = clock_ahead
        self._lock = threading.Lock()
        self._view: View | None = None
        self._forget()

    def __repr__(self) -> str:
        return f"NamespaceStore({self.place}, {len(self._jobs)} jobs, {len(self._pods)} pods)"

    def attach(self, view: View) -> None:
        """Pass observations to this view. If it is another one than before, everything has to be listed again."""
        with self._lock:
            if view is not self._view:
                self._view = view
                self._forget()

    @property
    def jobs_listed(self) -> bool:
        """Whether the jobs have been listed. Only then is it known which pods to keep."""
        return self._jobs_listed

    @property
    def pods_missed(self) -> bool:
        """Whether a pod was dropped whose Job became known later. Then the pods have to be listed again."""
        return self._pods_missed

    def replace_jobs(self, jobs: Iterable[JobObject], version: str) -> None:
        """A complete list of the jobs that are not reported, as of that version."""
        with self._lock:
            self._jobs = {job.metadata.name: job for job in jobs}
            self._pods = {name: pod for name, pod in self._pods.items() if self._is_known(pod)}
            for name, job in self._jobs.items():
                if name not in self._pods:
                    self._adopt(job)
            self._jobs_listed = True
            self._reach(version)
            self._replace()

    def replace_pods(self, pods: Iterable[PodObject], version: str) -> None:
        """A complete list of the pods as of that version, of which those that `relevant_pods` returned are needed."""
        with self._lock:
            before, self._pods = self._pods, {}
            self._early.clear()
            self._dropped.clear()
            self._pods_missed = False
            listed = set()
            for pod in pods:
                listed.add(pod.metadata.uid)
                self._put_or_hold(later(before.get(pod.job), pod))
            for pod in before.values():
                if pod.metadata.uid not in listed:
                    newer = _version(pod) > _number(version)  # than a stale list
                    self._put(pod if newer else deleted(pod))
            self._pods_listed = True
            self._pods_version = _number(version)
            self._replace()

    def relevant_jobs(self, jobs: Iterable[JobObject]) -> list[JobObject]:
        """All jobs of a list's page. One that has not changed is the stored one: a resync needs no second copy."""
        with self._lock:
            return [known if (known := self._jobs.get(job.metadata.name, job)) == job else job for job in jobs]

    def relevant_pods(self, pods: Iterable[PodObject]) -> list[PodObject]:
        """The pods whose Job is in this view, or may be in it once the watch of jobs has reached it. See above."""
        with self._lock:
            kept = [later(self._pods.get(pod.job), pod) for pod in pods if self._is_known(pod) or self._is_early(pod)]
            return [known if (known := self._pods.get(pod.job, pod)) == pod else pod for pod in kept]

    def update_job(self, job: JobObject) -> None:
        """A job was added or has changed."""
        with self._lock:
            name = job.metadata.name
            known = self._jobs.get(name)
            if _is_older(job, known):
                return
            self._jobs[name] = job
            if known is None or known.metadata.uid != job.metadata.uid:
                self._pods.pop(name, None)
                self._adopt(job)
            self._jobs_version = max(self._jobs_version, _version(job))
            self._note_change(name)
            self._release(name)

    def remove_job(self, job: JobObject) -> None:
        """A job has left the view: it was deleted, or it has a label that excludes it."""
        with self._lock:
            self._jobs_version = max(self._jobs_version, _version(job))
            known = self._jobs.get(job.metadata.name)
            if known is None or known.metadata.uid != job.metadata.uid:
                return
            del self._jobs[job.metadata.name]
            self._pods.pop(job.metadata.name, None)
            if self._view is not None and self._jobs_listed and self._pods_listed:
                self._view.left(identified(job, self.driver))
            self._release()

    def update_pod(self, pod: PodObject) -> None:
        """A pod was added or has changed."""
        with self._lock:
            if self._put_or_hold(pod):
                self._note_change(pod.job)
            self._pods_version = max(self._pods_version, _version(pod))
            self._release(pod.job)

    def with_history(self, pod: PodObject) -> PodObject:
        """A pod that was read by name, with what the watch has shown of its deletion."""
        with self._lock:
            return later(self._pods.get(pod.job), pod)

    def remove_pod(self, pod: PodObject) -> None:
        """A pod was deleted. Its Job is shown with it until there is another: it says how the containers ended."""
        self.update_pod(deleted(pod))

    def reach_jobs(self, version: str) -> None:
        """The watch of jobs has shown everything up to that version."""
        with self._lock:
            self._reach(version)

    def reach_pods(self, version: str) -> None:
        """The watch of pods has shown everything up to that version."""
        with self._lock:
            self._pods_version = _number(version)
            self._release()

    # All that follows is called with the lock held.

    def _forget(self) -> None:
        self._jobs, self._pods, self._early, self._dropped, self._changed = {}, {}, {}, {}, {}
        self._jobs_listed = self._pods_listed = self._pods_missed = self._replacing = False
        self._jobs_version = self._pods_version = 0

    def _is_known(self, pod: PodObject) -> bool:
        job = self._jobs.get(pod.job)
        return job is not None and pod.belongs_to(job)

    def _is_early(self, pod: PodObject) -> bool:
        return _version(pod) > self._jobs_version

    def _put_or_hold(self, pod: PodObject) -> bool:
        """Whether it is now the latest pod of a known job."""
        if self._is_known(pod):
            return self._put(pod)
        if self._is_early(pod):
            self._early[pod.job] = later(self._early.pop(pod.job, None), pod)
            if len(self._early) > EARLY_PODS:
                self._drop(next(iter(self._early)))
        return False

    def _put(self, pod: PodObject) -> bool:
        known = self._pods.get(pod.job)
        other = known if known and known.metadata.uid != pod.metadata.uid else None  # which was disrupted
        if (other and order_made(other) > order_made(pod)) or _is_older(pod, known):
            return False
        self._pods[pod.job] = later(known, pod)
        return True

    def _adopt(self, job: JobObject) -> None:
        """A job has become known: its pod may be here already."""
        name = job.metadata.name
        early = self._early.pop(name, None)
        if early is not None and self._is_known(early):
            self._pods[name] = early
        elif name in self._dropped:
            self._pods_missed = True

    def _reach(self, version: str) -> None:
        self._jobs_version = _number(version)
        for name in [name for name, pod in self._early.items() if not self._is_early(pod)]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self._early[name]
        self._dropped[name] = None
        if len(self._dropped) > DROPPED_NAMES:
            del self._dropped[next(iter(self._dropped))]

    def _observation(self, job: JobObject) -> Observation:
        return observation(job, self._pods.get(job.metadata.name), self.driver, self._clock_ahead())

    def _note_change(self, name: str) -> None:
        self._changed.setdefault(name, self._clock.monotonic())

    def _replace(self) -> None:
        self._replacing = True
        for name in self._jobs:
            self._note_change(name)
        self._release()

    def _release(self, latest: str = "") -> None:
        """Pass on a complete list or the jobs that have changed, but none that lacks the cause of its failure."""
        if self._view is None or not (self._jobs_listed and self._pods_listed):
            return
        ready = self._complete(latest)
        for name in ready:
            del self._changed[name]
        if self._replacing and not self._changed:
            self._replacing = False
            self._view.replace(self.place, [self._observation(job) for job in self._jobs.values()])
            return
        for name in ready:
            if (job := self._jobs.get(name)) is not None:
                self._view.update(self._observation(job))

    def _complete(self, latest: str) -> list[str]:
        """The names of changed jobs that lack nothing: the one that changed last, and those that have waited longest.

        In a burst hundreds may wait, so only the first of them is looked at, and the next one if that lacks nothing.
        """
        if self._replacing:
            return [name for name in self._changed if not self._lacks_cause(name)]
        waiting = itertools.takewhile(lambda name: not self._lacks_cause(name), self._changed)
        changed = [latest] if latest in self._changed and not self._lacks_cause(latest) else []
        return list(dict.fromkeys([*waiting, *changed]))

    def _lacks_cause(self, name: str) -> bool:
        """Whether the Job failed because of its pod, and neither the watch of pods nor a stored outcome says why."""
        job = self._jobs.get(name)
        if job is None or job.ended_as or (ended := job.ended) is None or ended.reason not in POD_FAILED:
            return False
        pod = self._pods.get(name)
        if pod is not None and (pod.status.phase in _POD_ENDED or pod.metadata.deletion_timestamp is not None):
            return False
        reached = self._pods_version >= _version(job)
        return not reached and self._clock.monotonic() < self._changed[name] + CAUSE_SECONDS


def _is_older(one: JobObject | PodObject, known: JobObject | PodObject | None) -> bool:
    """Whether it is an earlier version of the same object. Only a list may go back: etcd was restored."""
    return known is not None and one.metadata.uid == known.metadata.uid and _version(one) < _version(known)


def _version(seen: JobObject | PodObject) -> int:
    return _number(seen.metadata.resource_version)


def _number(version: str) -> int:
    """A resourceVersion as a number. An API server that does not number its versions gets 0: nothing is early then."""
    return int(version) if version.isdecimal() else 0
