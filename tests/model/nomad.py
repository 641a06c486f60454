"""The protocol on Nomad: one name in one namespace. See runner/drivers/nomad.

    client    submit: write the Variable ─▶ check that there is no job ─▶ register it ─▶ answer
              where pools lead to several places, the Variable is a claim first, which this or a later request admits
              cancel: read ─▶ close the Variable, or write a tombstone ─▶ answer (the reconciler stops the job as well)
    cluster   starts a job whose Variable is open, ends it, removes what has ended (garbage collection)
    tracker   see `following`; its reconciler stops, ends what is overdue, and removes Variables after the retention
    others    purge the job, delete the Variable, ask for the results again

A write of the Variable is decided by check-and-set. EnforceIndex is not: a register checks first and writes later, and
two of them may both have found nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explorer import Move
from tests.model.following import (
    CANCELLATION,
    END,
    Record,
    Seen,
    Sent,
    Tracker,
    asked_again,
    contradiction,
    contradicts,
    forget_lost,
    missed_end,
    promised,
    said_otherwise,
    succeeded,
)
from tests.model.nomad_objects import (
    Job,
    Read,
    State,
    Submit,
    Variable,
    end_before,
    observation,
    registered,
    with_submit,
)


class NomadWorld:
    """See World. The bounds say how often each thing may happen."""

    def __init__(
        self,
        name: str,
        without: frozenset[str] = frozenset(),
        *,
        trackers: int = 1,
        clients: int = 1,
        claims: bool = False,
        **bounds: int,
    ) -> None:
        """`claims`: pools lead to several places, so a name is claimed first."""
        self.name = name
        self.without = without
        self._claims = claims
        self._first = State(None, None, (None,) * trackers, (None,) * clients, **bounds)
        self._trackers = [Tracker(number, self) for number in range(trackers)]

    def initial(self) -> State:
        """See World."""
        return self._first

    def wrong(self, state: State) -> str:
        """See World."""
        if state.bad:
            return state.bad
        variable = state.variable
        if variable and variable.reported and any(nonce == variable.nonce for nonce, _ in state.pending):
            return "marked as reported with a result pending"
        return contradiction(state)

    def pending(self, state: State) -> bool:
        """See World."""
        return bool(state.pending)

    def moves(self, state: State) -> Iterator[Move]:
        """See World."""
        for number, submit in enumerate(state.clients):
            yield from self._submit(state, number, submit)
        yield from self._cancel(state)
        if state.job:
            yield from self._run(state, state.job)
            yield from self._reconcile(state, state.job)
        yield from self._removal(state)
        yield from self._resend(state)
        for tracker in self._trackers:
            yield from tracker.moves(state)

    # The clients.

    def _submit(self, state: State, number: int, submit: Submit | None) -> Iterator[Move]:
        if submit is None:
            if state.submits:
                nonce = state.nonces + 1
                started = state._replace(nonces=nonce, submits=state.submits - 1)
                yield f"client {number}: submit {nonce} begins", with_submit(started, number, Submit("write", nonce))
            return
        who = f"client {number}: submit {submit.nonce}"
        if submit.step != "write":
            yield f"{who}: the client dies", with_submit(state, number, None)
        yield from getattr(self, f"_submit_{submit.step}")(state, number, submit, who)

    def _submit_write(self, state: State, number: int, submit: Submit, who: str) -> Iterator[Move]:
        if state.variable is None or "variable-lock" in self.without:
            unseen = not {"correction-unseen", "nonce-corrected", "variable-lock"} & self.without
            nonce = state.job.nonce if state.job and unseen else submit.nonce  # see the assumption
            yield self._written(state, number, Submit("check", submit.nonce, True), f"{who} writes the Variable", nonce)
        else:
            yield f"{who} finds a Variable", with_submit(state, number, submit._replace(step="read"))

    def _written(self, state: State, number: int, submit: Submit, what: str, nonce: int) -> Move:
        """The Variable takes the name. A claim is to be admitted before the job is registered."""
        if self._claims:
            submit, what = submit._replace(step="admit", claim=nonce), f"{what} as a claim"
        variable = Variable(nonce, open=not self._claims, claim=self._claims)
        return what, with_submit(state._replace(variable=variable), number, submit)

    def _submit_admit(self, state: State, number: int, submit: Submit, who: str) -> Iterator[Move]:
        """See Submission.admit."""
        claim = submit.claim
        if state.variable == Variable(claim, open=False, claim=True):
            admitted = state._replace(variable=Variable(claim))
            yield f"{who} admits claim {claim}", with_submit(admitted, number, Submit("check", claim, submit.missing))
        else:
            yield (
                f"{who} finds that the claim has changed",
                with_submit(state, number, submit._replace(step="read", claim=0)),
            )

    def _submit_read(self, state: State, number: int, submit: Submit, who: str) -> Iterator[Move]:
        variable, job = state.variable, state.job
        if variable is None:
            yield f"{who} finds no Variable any more", with_submit(state, number, submit._replace(step="write"))
        elif variable.cancelled and "submit-finds-cancel" not in self.without:
            if variable.ended:
                yield f"{who} finds an ended run", with_submit(self._answered(state), number, None)
            else:
                yield f"{who} finds the name cancelled", with_submit(state, number, None)
        elif job is not None:
            yield f"{who} finds the job, and answers 2xx", with_submit(self._answered(state), number, None)
        elif variable.claim and variable.awaits_submit:
            completed = submit._replace(step="admit", claim=variable.nonce)
            yield f"{who} finds a claim that nobody has admitted", with_submit(state, number, completed)
        elif variable.open and variable.nonce == submit.nonce:
            yield f"{who} finds its own Variable", with_submit(state, number, submit._replace(step="check"))
        elif variable.ended or (variable.reported and not variable.free):
            yield f"{who} finds an ended run", with_submit(self._answered(state), number, None)
        else:
            if variable.free:
                state = state._replace(done=False)
            what = f"{who} takes over a Variable without a job"
            yield self._written(state, number, Submit("check", submit.nonce), what, submit.nonce)

    def _submit_check(self, state: State, number: int, submit: Submit, who: str) -> Iterator[Move]:
        if state.job is None:
            yield f"{who}: no job exists", with_submit(state, number, submit._replace(step="register"))
            return
        variable, known = state.variable, state.job
        differs = variable and variable.nonce == submit.nonce != known.nonce
        if differs and submit.missing and "nonce-corrected" not in self.without:
            state = state._replace(variable=variable._replace(nonce=known.nonce))
        yield f"{who} finds the job, and answers 2xx", with_submit(self._answered(state), number, None)

    def _submit_register(self, state: State, number: int, submit: Submit, who: str) -> Iterator[Move]:
        registered = state._replace(job=Job(submit.nonce))
        yield f"{who} registers the job, and answers 2xx", with_submit(self._answered(registered), number, None)

    def _answered(self, state: State) -> State:
        """A 2xx promises the end of the job under the name, unless a cancel came meanwhile."""
        variable, job = state.variable, state.job
        if variable and ((variable.cancelled and not variable.ended) or variable.aside or variable.reported):
            return state
        identity = variable.nonce if variable else job.nonce if job else 0
        return promised(state, identity, END) if identity else state

    def _cancel(self, state: State) -> Iterator[Move]:
        known = state.cancelling
        if known is None:
            if state.cancels:
                yield "client: cancel reads the name", self._read(state._replace(cancels=state.cancels - 1))
            return
        yield "client: dies during the cancel", state._replace(cancelling=None)
        if state.variable != known.variable and "cancel-cas" not in self.without:
            yield "client: cancel finds that the Variable has changed, and reads it again", self._read(state)
        elif known.variable is None and known.job:
            # Restored: the cancel reads it again.
            restored = state._replace(variable=Variable(known.seen.identity, open=False))
            yield "client: cancel restores the Variable", self._read(restored)
        elif known.variable is None and "tombstone" in self.without:
            yield "client: cancel finds nothing, and is confirmed", state._replace(cancelling=None, confirmed=True)
        else:
            yield from self._close(state, known)

    def _close(self, state: State, known: Read) -> Iterator[Move]:
        """See closing.cancel."""
        nonce = state.nonces + 1
        made = known.variable is None or (not known.job and known.variable.free)
        before = Variable(nonce, tomb=True) if made else known.variable
        ended = "" if made else end_before(known)
        closed = before._replace(cancelled=True, open="cancel-closes" in self.without, aside=False)
        if ended and "cancel-stores-end" not in self.without:
            closed = closed._replace(ended=ended, stored=True)
        if before.reported and not before.aside and "cancel-keeps-published" not in self.without:
            closed = closed._replace(published=before.published or before.reported)
        if "cancel-clears-mark" not in self.without:
            closed = closed._replace(reported="")
        job = state.job
        if job and not ended:
            state = state._replace(job=job._replace(by=job.by or "cancel"))
        state = state._replace(variable=closed, cancelling=None, nonces=nonce if made else state.nonces)
        words = "writes a tombstone" if made else f"closes the Variable{f' of a run that ended: {ended}' * bool(ended)}"
        yield f"client: cancel {words}, and is confirmed", self._confirm(state)

    def _read(self, state: State) -> State:
        if state.variable and state.variable.cancelled:
            return self._confirm(state._replace(cancelling=None))
        return state._replace(cancelling=Read(state.variable, self.observed(state), state.job is not None))

    def _confirm(self, state: State) -> State:
        variable = state.variable
        if not variable.ended:
            state = state._replace(confirmed=True, pending=state.pending - {(variable.nonce, END)})
        return promised(state, variable.nonce, CANCELLATION)

    # The cluster.

    def _run(self, state: State, job: Job) -> Iterator[Move]:
        if job.run == "waiting" and not job.stop and self._may_start(state):
            bad = state.bad
            if state.confirmed:
                bad = "a task started after a confirmed cancel"
            elif state.done:
                bad = "a job ran a second time"
            yield "cluster: starts the job", state._replace(job=job._replace(run="running"), bad=bad)
        if job.run == "running":
            over = job._replace(run="over")
            if job.by != "limit" or "no-success-in-grace" in self.without:
                heard = succeeded(state._replace(job=over._replace(by="ok"), done=True), job.nonce)
                if state.variable:
                    heard = succeeded(heard, state.variable.nonce)
                yield "cluster: the run succeeds, and publishes its result", heard
            yield "cluster: the run fails", state._replace(job=over._replace(by=job.by or "bad"), done=True)
        if job.stop and job.run != "over":
            yield "cluster: stops the job", state._replace(job=job._replace(run="over", dead=True))
        if job.run == "over" and not job.dead:
            yield "cluster: shows the job as dead", state._replace(job=job._replace(dead=True))

    def _may_start(self, state: State) -> bool:
        """Whether the template renders, and no request is at work that is short; see the assumptions."""
        if "open-template" in self.without:
            return True
        if "register-is-short" not in self.without and any(each and each.step == "register" for each in state.clients):
            return False
        ending = any(each and each.step == "write_end" and each.seen.phase == "waiting" for each in state.trackers)
        if ending and "end-is-short" not in self.without:
            return False
        return state.variable is not None and state.variable.open

    def _reconcile(self, state: State, job: Job) -> Iterator[Move]:
        """See NamespaceReconciler._enforce."""
        variable = state.variable
        if variable and not variable.open and not job.stop and not job.dead and "reconcile-stops" not in self.without:
            by = job.by or ("cancel" if variable.cancelled and not variable.ended else "limit")
            yield (
                "tracker: the reconciler stops a job whose Variable is closed",
                state._replace(job=job._replace(stop=True, by=by)),
            )
        if (variable is None or variable.open) and job.run != "over":
            closed = (variable or Variable(job.nonce))._replace(open=False, ended="timed_out")
            yield (
                "tracker: the reconciler ends the overdue job",
                state._replace(variable=closed, job=job._replace(by=job.by or "limit")),
            )

    def _removal(self, state: State) -> Iterator[Move]:
        variable, job = state.variable, state.job
        closed = variable and (variable.ended or variable.cancelled) and job and job.by != "ok"
        heard = variable and (variable.reported or closed)
        requests = any(state.clients) or state.cancelling is not None
        old = any(each and each.seen.phase in ("waiting", "running") for each in state.trackers)
        # Nomad waits for hours, and no request or observation lasts so long.
        if job and job.dead and not requests and not old and (heard or "collection-after-report" in self.without):
            yield "cluster: garbage-collects the job", state._replace(job=None)
        if job and state.purges and self._is_marked(state, job):
            identity = variable.nonce if variable else job.nonce
            purged = state._replace(job=None, done=False, purges=state.purges - 1, lost=state.lost | {identity})
            yield "somebody: purges the job", forget_lost(purged)
        if variable and state.deletes:
            deleted = state._replace(variable=None, confirmed=False, deletes=state.deletes - 1)
            if job is None or variable.cancelled:
                deleted = forget_lost(
                    deleted._replace(done=state.done and job is not None, lost=state.lost | {variable.nonce})
                )
            yield "somebody: deletes the Variable", deleted
        reported = variable and (variable.reported or "retention-after-report" in self.without)
        if reported and job is None and not self._is_followed(state, variable.nonce):
            removed = state._replace(variable=None, confirmed=False, done=False)
            yield "tracker: the reconciler removes the Variable after the retention", removed

    def _is_followed(self, state: State, identity: int) -> bool:
        """The retention is longer than any request, and than a tracker keeps a record; see the assumption."""
        if "retention-outlasts-records" in self.without:
            return False
        requests = state.cancelling is not None or any(state.clients)
        return requests or any(each and each.seen.identity == identity for each in state.trackers)

    def _is_marked(self, state: State, job: Job) -> bool:
        """Whether the Variable says how it ended, if it has succeeded; see the assumption."""
        variable = state.variable
        kept = variable is not None and (variable.stored or variable.reported)
        return job.by != "ok" or bool(kept) or "success-seen-first" in self.without

    def _resend(self, state: State) -> Iterator[Move]:
        """See closing.resend. The check-and-set makes it one step with what it has read."""
        variable = state.variable
        if not (state.resends and variable and variable.reported):
            return
        seen = self.observed(state)
        again = variable._replace(resent=variable.resent + 1, marked=False, said=variable.reported)
        if not variable.cancelled:
            seen = seen._replace(ended_as=variable.ended if variable.stored else variable.reported)
            again = again._replace(said=seen.ended_as)
            if "resend-stores-end" not in self.without:
                again = again._replace(ended=seen.ended_as, stored=True)
        if "resend-clears-mark" not in self.without:
            again = again._replace(reported="", aside=False)
        if "resend-clears-published" not in self.without:
            again = again._replace(published="")
        yield "somebody: asks for the results again", asked_again(state, seen)._replace(variable=again)

    # What the trackers ask for.

    def observed(self, state: State) -> Seen | None:
        """See NamespaceReader.observations: it leaves out what may still be being submitted."""
        found = self.found(state)
        return None if found and found.unsettled and found.phase == "waiting" else found

    def found(self, state: State) -> Seen | None:
        """See NamespaceReader.one."""
        variable, job = state.variable, state.job
        if job is not None:
            return registered(job, variable)
        if variable is None:
            return None
        phase, reason = "gone", ""
        if variable.awaits_submit and self._may_still_register(state, variable):
            phase = "waiting"
        elif variable.cancelled or variable.ended:
            phase, reason = ("succeeded" if variable.ended == "succeeded" else "failed"), variable.ended or "unknown"
        return observation(variable, variable.nonce, phase, reason)._replace(unsettled=variable.awaits_submit)

    def _may_still_register(self, state: State, variable: Variable) -> bool:
        """See Cache.submit_seconds: it is longer than the request that wrote the Variable."""
        alive = [each for each in state.clients if each]
        at_work = any(each.step in ("check", "register") or each.nonce == variable.nonce for each in alive)
        return at_work and "left-seconds" not in self.without

    def read_end(self, state: State, record: Record) -> tuple[Variable | None, bool | None]:
        """See NomadDriver.end."""
        found = self.found(state)
        if found is None or contradicts(found, record.seen, record.outcome, self.without):
            return None, False
        return state.variable, None

    def write_end(self, state: State, record: Record) -> tuple[State, bool | None]:
        """See closing.end."""
        variable, job = self._variable_of(state, record, "end-identity")
        if variable is None:
            return state, False
        if state.variable != record.known and "end-index" not in self.without:
            return state._replace(variable=variable), None  # it may have been restored
        if variable.cancelled and "end-not-cancelled" not in self.without:
            return state, False
        if variable.ended or variable.cancelled or variable.reported:
            same = variable.ended == record.outcome or "end-same-reason" in self.without
            return state, not variable.stored or same
        if variable.nonce != record.seen.identity:
            state = state._replace(bad="a job was ended for the limit of another one")
        elif job and (job.run == "running" or job.by in ("ok", "bad")):
            state = state._replace(bad="a run that had started was ended for the limit on its start")
        closed = variable._replace(open=False)
        if "end-stores-outcome" not in self.without:
            closed = closed._replace(ended=record.outcome, stored=True)
        if job:
            job = job._replace(by=job.by or "limit", stop=True)
        return state._replace(variable=closed, job=job), True

    def mark(self, state: State, record: Record, aside: bool) -> tuple[State, bool]:
        """See closing.mark."""
        variable, _ = self._variable_of(state, record, "mark-identity")
        if variable is None:
            return state, False
        if variable.cancelled and not record.seen.cancelled:
            if "mark-cas" in self.without:  # what was read before the cancel is written after it
                variable = variable._replace(cancelled=False)
            elif "mark-not-cancelled" not in self.without:
                return state, False
        if variable.resent != record.seen.resent and "mark-not-resent" not in self.without:
            return state, False
        if variable.reported:
            return state, True
        missed = missed_end(record)
        if variable.cancelled and missed and not variable.ended and "mark-stores-missed-end" not in self.without:
            variable = variable._replace(ended=missed, stored=True)
        marked = variable.marked or END in record.sent
        closed = variable._replace(open=False, reported=record.outcome, aside=aside, marked=marked)
        return state._replace(variable=closed), True

    def _variable_of(self, state: State, record: Record, guard: str) -> tuple[Variable | None, Job | None]:
        variable, job = state.variable, state.job
        if variable is None and job is not None:
            variable = Variable(job.nonce, open=False)
        if variable and variable.nonce != record.seen.identity and guard not in self.without:
            return None, job
        return variable, job

    def is_true(self, state: State, record: Record, result: Sent) -> str:
        """See Cluster."""
        variable, job = state.variable, state.job
        heard = [each for each in state.atlas if each.identity == result.identity and each.kind != CANCELLATION]
        aside = variable is not None and variable.aside
        if result.reason == "5001" and not heard and not record.seen.published and not aside:
            return "confirmed as already ended, but how it ended was never published"
        if variable is None or variable.nonce != result.identity:
            return ""
        if result.kind == END and variable.marked and len(state.trackers) == 1:
            return "an end was published again after its mark"
        if otherwise := said_otherwise(result, record, variable.said):
            return otherwise
        if job and not job.stop and result.reason == "deleted":
            return "a job was published as deleted that is still there"
        if job and result.reason == "5001" and job.by == "cancel":
            return "confirmed as already ended, but the cancel stopped it"
        return ""

    def may_expire(self, state: State, record: Record) -> bool:
        """See Cluster."""
        return record.seen.phase == "waiting" and not record.seen.cancelled and not record.seen.unsettled

    def may_lose(self, state: State, record: Record) -> bool:
        """See Cluster and the assumption."""
        if "one-memory-of-end" in self.without or END not in record.sent:
            return True
        variable, known = state.variable, state.cancelling
        if variable is None or variable.nonce != record.seen.identity:
            return True
        reading = known is not None and not end_before(known)
        return not (reading or (variable.cancelled and not variable.ended))

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


def worlds(without: frozenset[str] = frozenset()) -> list[NomadWorld]:
    """The bounds within which everything is tried."""
    return [
        NomadWorld("a cancel and a crash", without, submits=1, cancels=2, kills=1),
        NomadWorld("two submits at once", without, clients=2, submits=2, cancels=1),
        NomadWorld("an abandoned claim", without, clients=2, submits=2, kills=1, claims=True),
        NomadWorld("an abandoned claim and a cancel", without, submits=2, cancels=1, claims=True),
        NomadWorld("a refusal", without, submits=1, cancels=1, kills=1, refusals=1),
        NomadWorld("a purged job", without, submits=2, purges=1, kills=1, stale=1),
        NomadWorld("a purged job and a cancel", without, submits=1, purges=1, cancels=1),
        NomadWorld("a deleted Variable", without, submits=2, deletes=1, kills=1),
        NomadWorld("two leaders", without, trackers=2, submits=1, cancels=1),
        NomadWorld("a resend", without, submits=1, cancels=1, resends=1, kills=1),
        NomadWorld("two leaders and a resend", without, trackers=2, submits=1, resends=2),
    ]
