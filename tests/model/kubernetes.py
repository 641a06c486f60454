"""The protocol on Kubernetes: one name in one namespace. See runner/drivers/kubernetes.

    client    submit: create the Job ─▶ create its Secret ─▶ answer       cancel: read ─▶ patch, or create a tombstone
    cluster   starts a Job that has its Secret, ends it, writes its condition later, removes it by its time-to-live
    tracker   see `following`
    others    delete the Job, take the evidence of its end away, ask for its results again

A client may die between two steps: its next step then never comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.explorer import Move
from tests.model.following import (
    CANCELLATION,
    END,
    Record,
    Seen,
    Sent,
    Tracker,
    asked_again,
    classify,
    contradiction,
    contradicts,
    forget_lost,
    missed_end,
    promised,
    said_otherwise,
    succeeded,
)


class Job(NamedTuple):
    """The Job under the name, with its pod."""

    uid: int
    run: str = "waiting"
    """waiting, running, over"""
    by: str = ""
    """What ended it first, in truth: itself (ok, bad), deadline, limit or cancel."""
    shown: bool = False
    """The pod still shows how it ended by itself."""
    ended: bool = False
    """The Job's own condition says that it has ended. The controller writes it some time after the pod's end."""
    held: bool = False
    """Suspended by a queue."""
    runnable: bool = True
    """It may make pods (`parallelism`)."""
    secret: bool = False
    cancelled: bool = False
    ended_as: str = ""
    label: str = ""
    """Reported, with this reason: left out of lists."""
    aside: bool = False
    published: str = ""
    expires: bool = False
    """It has a time-to-live."""
    resent: int = 0
    said: str = ""
    """What was reported when an operator asked for it again."""
    marked: bool = False
    """Its end was published and marked once, in truth."""

    @property
    def version(self) -> tuple[Any, ...]:
        """The Job's resourceVersion: what its pod shows and its Secret are other objects."""
        return self._replace(run="", by="", shown=False, secret=False, said="", marked=False)


class State(NamedTuple):
    """The cluster, the clients, the trackers and atlas."""

    job: Job | None
    trackers: tuple[Record | None, ...]
    submitting: int = 0
    """The uid of the Job whose Secret a client is about to create."""
    cancelling: Job | str | None = None
    """What a cancel has read: the Job, or `absent`."""
    atlas: frozenset[Sent] = frozenset()
    pending: frozenset[tuple[int, str]] = frozenset()
    """What an answer has promised and atlas has not received."""
    lost: frozenset[int] = frozenset()
    """Jobs that somebody deleted."""
    confirmed: bool = False
    """A client knows that the name is cancelled, and its Job or tombstone has not been removed since."""
    uids: int = 0
    submits: int = 0
    cancels: int = 0
    deletes: int = 0
    kills: int = 0
    losses: int = 0
    stale: int = 0
    refusals: int = 0
    resends: int = 0
    bad: str = ""


class KubernetesWorld:
    """See World. The bounds say how often each thing may happen."""

    def __init__(
        self, name: str, without: frozenset[str] = frozenset(), *, trackers: int = 1, queue: bool = False, **bounds: int
    ) -> None:
        self.name = name
        self.without = without
        self._queue = queue
        self._first = State(None, (None,) * trackers, **bounds)
        self._trackers = [Tracker(number, self) for number in range(trackers)]

    def initial(self) -> State:
        """See World."""
        return self._first

    def wrong(self, state: State) -> str:
        """See World."""
        if state.bad:
            return state.bad
        job = state.job
        if job and job.label and any(uid == job.uid for uid, _ in state.pending):
            return "marked as reported with a result pending"
        return contradiction(state)

    def pending(self, state: State) -> bool:
        """See World."""
        return bool(state.pending)

    def moves(self, state: State) -> Iterator[Move]:
        """See World."""
        yield from self._submit(state)
        yield from self._cancel(state)
        if state.job:
            yield from self._run(state, state.job)
            yield from self._end_of_run(state, state.job)
            yield from self._removal(state, state.job)
            yield from self._resend(state, state.job)
        for tracker in self._trackers:
            yield from tracker.moves(state)

    # The clients.

    def _submit(self, state: State) -> Iterator[Move]:
        if state.submitting:
            yield "client: creates the Secret, and answers 2xx", self._secret(state)
            yield "client: dies before it creates the Secret", state._replace(submitting=0)
        elif state.submits:
            state = state._replace(submits=state.submits - 1)
            job = state.job
            if job is None or ("create-only" in self.without and job.cancelled):
                uid = state.uids + 1
                expires = "no-ttl-before-mark" in self.without
                made = state._replace(uids=uid, submitting=uid)
                yield f"client: submit creates Job {uid}", made._replace(job=Job(uid, expires=expires))
                if self._queue:
                    held = Job(uid, held=True, expires=expires)
                    yield f"client: submit creates Job {uid}, which a queue holds", made._replace(job=held)
            elif job.cancelled and not job.ended_as and "submit-finds-cancel" not in self.without:
                yield "client: submit finds the name cancelled", state
            elif job.run == "over":
                yield "client: submit finds the Job, and answers 2xx", self._answered(state, job.uid)
            else:
                yield "client: submit finds the Job", state._replace(submitting=job.uid)

    def _secret(self, state: State) -> State:
        job, uid = state.job, state.submitting
        state = state._replace(submitting=0)
        if job is None or job.uid != uid:  # its owner is gone, so it is collected
            return state
        if job.cancelled and not job.ended_as:  # the cancel that came meanwhile is what atlas hears of
            return state._replace(job=job._replace(secret=True))
        return self._answered(state._replace(job=job._replace(secret=True)), uid)

    def _answered(self, state: State, uid: int) -> State:
        """A 2xx promises the end, unless atlas has refused it for good."""
        return state if state.job.aside else promised(state, uid, END)

    def _cancel(self, state: State) -> Iterator[Move]:
        if state.cancelling is None:
            if state.cancels:
                yield "client: cancel reads the Job", self._read(state._replace(cancels=state.cancels - 1))
            return
        yield "client: dies during the cancel", state._replace(cancelling=None)
        job, known = state.job, state.cancelling
        if isinstance(known, str):
            if "tombstone" in self.without:
                yield "client: cancel finds no Job, and is confirmed", state._replace(cancelling=None, confirmed=True)
            elif job is None:
                uid = state.uids + 1
                tomb = Job(uid, by="cancel", runnable=False, cancelled=True)
                state = state._replace(cancelling=None, uids=uid, job=tomb)
                yield "client: cancel creates a tombstone, and is confirmed", self._confirm(state)
            else:
                yield "client: cancel finds a Job after all", self._read(state)
        elif job is None or self._changed(job, known):
            yield "client: cancel finds that the Job has changed, and reads it again", self._read(state)
        else:
            yield from self._patch(state, job, known)

    def _changed(self, job: Job, known: Job) -> bool:
        return "cancel-version" not in self.without and job.version != known.version

    def _read(self, state: State) -> State:
        job = state.job
        if job is not None and job.cancelled:
            return self._confirm(state._replace(cancelling=None))
        return state._replace(cancelling=job or "absent")

    def _confirm(self, state: State) -> State:
        """The answer to a cancel. It promises a confirmation, and no longer an end unless that came first."""
        job = state.job
        if not job.ended_as:
            state = state._replace(confirmed=True, pending=state.pending - {(job.uid, END)})
        return promised(state, job.uid, CANCELLATION)

    def _patch(self, state: State, job: Job, known: Job) -> Iterator[Move]:
        ended = known.ended_as or classify(_observed(known))
        changed = job._replace(cancelled=True)
        if ended and "cancel-stores-end" not in self.without:
            changed = changed._replace(ended_as=ended)
        if "cancel-clears-mark" not in self.without:
            changed = changed._replace(label="", aside=False)
        if "cancel-clears-ttl" not in self.without:
            changed = changed._replace(expires=False)
        if known.label and not known.aside and "cancel-keeps-published" not in self.without:
            changed = changed._replace(published=known.label)
        if not known.ended:
            changed = self._stopped(changed, "cancel")
        words = f"as already ended: {ended}" if ended else "to stop it"
        yield (
            f"client: cancel patches Job {job.uid} {words}, and is confirmed",
            self._confirm(state._replace(job=changed, cancelling=None)),
        )

    def _stopped(self, job: Job, by: str) -> Job:
        """The Job with the fields of the spec that end it at its next sync. See patches._stop."""
        if job.held and "stop-resumes" not in self.without:
            job = job._replace(held=False, runnable="stop-makes-no-pod" in self.without and job.runnable)
        return job._replace(by=job.by or by)

    # The cluster.

    def _run(self, state: State, job: Job) -> Iterator[Move]:
        if job.held:
            yield "cluster: the queue releases the Job", state._replace(job=job._replace(held=False))
            return
        stopping = job.by not in ("", "limit")  # after a limit the pod may start until the deadline of one second
        if job.cancelled and state.confirmed and self._resumed(job):
            stopping = False
        if job.run == "waiting" and job.secret and job.runnable and not stopping:
            bad = "a container started after a confirmed cancel" if state.confirmed else ""
            yield "cluster: starts the Job", state._replace(job=job._replace(run="running"), bad=bad)

    def _resumed(self, job: Job) -> bool:
        """A Job that is resumed makes a pod before its deadline ends it."""
        return self._queue and bool({"stop-resumes", "stop-makes-no-pod"} & self.without)

    def _end_of_run(self, state: State, job: Job) -> Iterator[Move]:
        if job.run == "running":
            over = job._replace(run="over", shown=True)
            if job.by != "limit" or "no-success-in-grace" in self.without:
                yield (
                    "cluster: the run succeeds, and publishes its result",
                    succeeded(state._replace(job=over._replace(by="ok")), job.uid),
                )
            yield "cluster: the run fails", state._replace(job=over._replace(by=job.by or "bad"))
        if job.run != "over" and not job.held:
            what = "is stopped" if job.by else "reaches its deadline"
            over = job._replace(run="over", ended=True, by=job.by or "deadline")
            yield f"cluster: the Job {what}", state._replace(job=over)
        if job.run == "over" and not job.ended:
            yield "cluster: writes the Job's condition", state._replace(job=job._replace(ended=True))
        if job.shown and job.by == "bad" and state.losses:
            lost = state._replace(job=job._replace(shown=False, ended=True), losses=state.losses - 1)
            yield "somebody: deletes the pod of the ended Job", lost

    def _removal(self, state: State, job: Job) -> Iterator[Move]:
        followed = any(each and each.seen.identity == job.uid for each in state.trackers)
        if job.expires and job.ended and (not followed or "retention-outlasts-records" in self.without):
            yield "cluster: removes the Job by its time-to-live", state._replace(job=None, confirmed=False)
        if state.deletes and self._is_seen(state, job):
            yield (
                "somebody: deletes the Job",
                forget_lost(
                    state._replace(job=None, confirmed=False, deletes=state.deletes - 1, lost=state.lost | {job.uid})
                ),
            )

    def _is_seen(self, state: State, job: Job) -> bool:
        """Whether each tracker that follows the job has seen its success; see the assumption."""
        following = [each for each in state.trackers if each and each.seen.identity == job.uid]
        seen = all(each.seen.phase == "succeeded" for each in following)
        return job.by != "ok" or seen or "success-seen-first" in self.without

    def _resend(self, state: State, job: Job) -> Iterator[Move]:
        """See KubernetesDriver.resend. The patch has the resourceVersion, so it is one step with what it has read."""
        if not (state.resends and job.label):
            return
        seen = _observed(job)
        changed = job._replace(resent=job.resent + 1, marked=False, said=job.label)
        if not job.cancelled:
            seen = seen._replace(ended_as=job.ended_as or job.label)
            changed = changed._replace(said=seen.ended_as)
            if "resend-stores-end" not in self.without:
                changed = changed._replace(ended_as=seen.ended_as)
        if "resend-clears-mark" not in self.without:
            changed = changed._replace(label="", aside=False)
        if "resend-clears-published" not in self.without:
            changed = changed._replace(published="")
        if "resend-clears-ttl" not in self.without:
            changed = changed._replace(expires=False)
        yield "somebody: asks for the results again", asked_again(state, seen)._replace(job=changed)

    # What the trackers ask for.

    def observed(self, state: State) -> Seen | None:
        """See Cluster."""
        return _observed(state.job) if state.job else None

    found = observed

    def read_end(self, state: State, record: Record) -> tuple[Any, bool | None]:
        """See KubernetesDriver.end."""
        job = state.job
        if job is None or self._refuses_end(job, record):
            return None, False
        if job.ended_as or job.ended:
            same = job.ended_as == record.outcome or "end-same-reason" in self.without
            return None, bool(job.ended_as) and same
        if contradicts(_observed(job), record.seen, record.outcome, self.without):
            return None, False
        return self._end_version(job), None

    def write_end(self, state: State, record: Record) -> tuple[State, bool | None]:
        """See patches.end_patch."""
        job = state.job
        if job is None or job.ended_as or self._refuses_end(job, record):
            return state, None
        if self._end_version(job) != record.known and "end-version" not in self.without:
            return state, None
        if job.uid != record.seen.identity:
            state = state._replace(bad="a job was ended for the limit of another one")
        elif job.run == "running" or job.by in ("ok", "bad"):
            state = state._replace(bad="a run that had started was ended for the limit on its start")
        changed = self._stopped(job, "limit")
        if "end-stores-outcome" not in self.without:
            changed = changed._replace(ended_as=record.outcome)
        return state._replace(job=changed), True

    def _refuses_end(self, job: Job, record: Record) -> bool:
        if job.uid != record.seen.identity and "end-identity" not in self.without:
            return True
        return job.cancelled and "end-not-cancelled" not in self.without

    def _end_version(self, job: Job) -> tuple[Any, ...]:
        """What the end tests: the resourceVersion, which the Job controller's note of a start changes as well."""
        started = job.run != "waiting" and "start-is-noted" not in self.without  # see the assumption
        return (job.version, started)

    def mark(self, state: State, record: Record, aside: bool) -> tuple[State, bool]:
        """See KubernetesDriver.mark_reported."""
        job = state.job
        if job is None or (job.uid != record.seen.identity and "mark-identity" not in self.without):
            return state, False
        if job.cancelled and not record.seen.cancelled and "mark-not-cancelled" not in self.without:
            return state, False
        if job.resent != record.seen.resent and "mark-not-resent" not in self.without:
            return state, False
        missed = missed_end(record)
        if job.cancelled and missed and "mark-stores-missed-end" not in self.without:
            job = job._replace(ended_as=missed)
        marked = job.marked or END in record.sent
        return state._replace(job=job._replace(label=record.outcome, aside=aside, expires=True, marked=marked)), True

    def is_true(self, state: State, record: Record, result: Sent) -> str:
        """See Cluster."""
        job = state.job
        if (
            result.reason == "5001"
            and not any(each.identity == result.identity and each.kind != CANCELLATION for each in state.atlas)
            and not record.seen.published
            and not (job and job.aside)
        ):
            return "confirmed as already ended, but how it ended was never published"
        if job is None or job.uid != result.identity:
            return ""
        if result.kind == END and job.marked and len(state.trackers) == 1:
            return "an end was published again after its mark"
        if otherwise := said_otherwise(result, record, job.said):
            return otherwise
        if result.reason == "deleted":
            return "a job was published as deleted that is still there"
        if result.reason == "5001" and job.by == "cancel":
            return "confirmed as already ended, but the cancel stopped it"
        return ""

    def may_expire(self, state: State, record: Record) -> bool:
        """See Cluster. The record may be older than the start of the job."""
        return record.seen.phase == "waiting" and not record.seen.cancelled

    def may_lose(self, state: State, record: Record) -> bool:
        """See Cluster and the assumption."""
        return "one-memory-of-end" in self.without or not self._missed(state, record)

    def may_send(self, state: State, record: Record, result: Sent) -> bool:
        """See Cluster and the assumption."""
        if "one-memory-of-end" in self.without or len(state.trackers) == 1:
            return True
        if result.reason == "5000":
            return not any(
                each and each.seen.identity == result.identity and END in each.sent for each in state.trackers
            )
        own = CANCELLATION in record.sent
        return own or not any(each.identity == result.identity and each.reason == "5000" for each in state.atlas)

    def _missed(self, state: State, record: Record) -> bool:
        """Whether a cancel that has not seen the end may come between the publication of the end and its mark."""
        job, known = state.job, state.cancelling
        if END not in record.sent or job is None or job.uid != record.seen.identity:
            return False
        reading = isinstance(known, Job) and not classify(_observed(known))
        return (job.cancelled and not job.ended_as) or reading


def _observed(job: Job) -> Seen:
    """See runner.drivers.kubernetes.observation."""
    if job.shown or job.ended:
        phase = "succeeded" if job.by == "ok" else "failed"
    elif job.cancelled and job.held:  # as release 0.1 left it
        phase = "failed"
    else:
        phase = "running" if job.run == "running" else "waiting"
    reason = ""
    if phase == "failed":
        reason = "failed" if job.shown else "timed_out" if job.by in ("deadline", "limit") else "disrupted"
    return Seen(job.uid, phase, reason, job.cancelled, job.ended_as, job.published, bool(job.label), job.resent)


def worlds(without: frozenset[str] = frozenset()) -> list[KubernetesWorld]:
    """The bounds within which everything is tried."""
    return [
        KubernetesWorld("a cancel and a crash", without, submits=1, cancels=2, kills=1, losses=1),
        KubernetesWorld("a queue", without, submits=1, cancels=1, kills=1, queue=True),
        KubernetesWorld("a refusal", without, submits=1, cancels=1, kills=1, refusals=1),
        KubernetesWorld("a job made anew", without, submits=2, deletes=1, kills=1, stale=1),
        KubernetesWorld("a cancelled job made anew", without, submits=2, cancels=1, deletes=1),
        KubernetesWorld("two leaders", without, trackers=2, submits=1, cancels=1),
        KubernetesWorld("two leaders and a crash", without, trackers=2, submits=1, deletes=1, kills=1, losses=1),
        KubernetesWorld("a resend", without, submits=1, cancels=1, resends=1, kills=1, losses=1),
        KubernetesWorld("two leaders and a resend", without, trackers=2, submits=1, resends=2),
    ]
