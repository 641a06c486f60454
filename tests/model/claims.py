"""One name over two places of one cluster: the protocol of runner/drivers/claims.py and claiming.py.

    request   read the other place ─▶ take ─▶ read it again ─▶ admit, yield, or mark the other one ─▶ Secret ─▶ answer
    cancel    cancel what has the name; if nothing has, cancel or put a tombstone in every place
    end       read a claim that nobody completes ─▶ read the other place ─▶ let it yield, or store that it was deleted

Each step is one request to the cluster, and its client may die before the next one. Identities are given in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explorer import Move

PLACES = (0, 1)


class Job(NamedTuple):
    """What stands under the name in one place."""

    identity: int
    claim: str
    """new, admitted, yielded, ended; empty for a tombstone"""
    secret: bool = False
    cancelled: bool = False

    @property
    def runnable(self) -> bool:
        """Its container may start."""
        return self.secret and not self.cancelled and self.claim != "ended"


class Request(NamedTuple):
    """A submit. `mine` and `other` are what it has read last, of the place where it tries to stand and of the other."""

    step: str
    place: int
    mine: Job | None = None
    other: Job | None = None


class End(NamedTuple):
    """A tracker's end of a claim, with what it has read."""

    place: int
    mine: Job
    read: bool = False
    """It has read the other place as well."""
    other: Job | None = None


class State(NamedTuple):
    """The places and the clients."""

    jobs: tuple[Job | None, Job | None] = (None, None)
    requests: tuple[Request | None, ...] = ()
    cancelling: tuple[int, int, bool] | None = None
    """The pass, the next place, and whether something was cancelled in this pass."""
    ending: End | None = None
    confirmed: bool = False
    low: int = 0
    high: int = 0
    submits: int = 0
    cancels: int = 0
    deletes: int = 0
    ends: int = 0
    deleted: bool = False
    bad: str = ""


class ClaimsWorld:
    """See World."""

    def __init__(
        self, name: str, without: frozenset[str] = frozenset(), *, begun: tuple[int, ...] = (), **bounds: int
    ) -> None:
        self.name = name
        self.without = without
        requests = tuple(Request("first", place) for place in begun)
        self._initial = State(requests=requests or (None, None), **bounds)

    def initial(self) -> State:
        """See World."""
        return self._initial

    def pending(self, state: State) -> bool:
        """See World. What is promised here is never to happen, so nothing is pending."""
        return False

    def wrong(self, state: State) -> str:
        """See World."""
        if state.bad:
            return state.bad
        runnable = [job for job in state.jobs if job and job.runnable]
        if runnable and any(job and job.claim == "ended" for job in state.jobs):
            return "a run was ended as deleted that can run in the other place"
        if len(runnable) > 1:
            return "two jobs of one name can run"
        if runnable and state.confirmed:
            return "a job can start after a confirmed cancel"
        if not state.deleted and all(job and job.claim == "yielded" and not job.cancelled for job in state.jobs):
            return "both have yielded, so none ever runs"
        return ""

    def moves(self, state: State) -> Iterator[Move]:
        """See World."""
        for number, request in enumerate(state.requests):
            if request is not None:
                who = f"client {number}"
                if state.submits or state.ends:  # else it is as if it never went on
                    yield f"{who}: dies", _next(state, number, None)
                yield from getattr(self, f"_{request.step}")(state, number, request, who)
            elif state.submits:
                begun = state._replace(submits=state.submits - 1)
                for place in PLACES:
                    what = f"client {number}: a submit for place {place} begins"
                    yield what, _next(begun, number, Request("first", place))
        yield from self._cancel(state)
        yield from self._end(state)
        for place, job in enumerate(state.jobs):
            if job and job.claim == "yielded" and not job.cancelled:
                yield f"cluster: removes the yielded job in place {place}", _put(state, place, None)
            if job and state.deletes:
                gone = _put(state._replace(deletes=state.deletes - 1, deleted=True), place, None)
                yield f"somebody: deletes the job in place {place}", gone._replace(confirmed=False)

    # A submit.

    def _first(self, state: State, number: int, request: Request, who: str) -> Iterator[Move]:
        there = state.jobs[1 - request.place]
        what = f"{who}: reads place {1 - request.place}, {_words(there)}"
        if there and (_settled(there, self.without) or there.claim == "new"):
            yield what, self._go_on(state, number, Request("read", 1 - request.place, there))
        else:
            yield what, _next(state, number, request._replace(step="take", other=there))

    def _take(self, state: State, number: int, request: Request, who: str) -> Iterator[Move]:
        known = state.jobs[request.place]
        step = "read" if "read-after-take" not in self.without else "act"
        if known is not None:
            what = f"{who}: finds the name in place {request.place}, {_words(known)}"
            yield what, self._go_on(state, number, request._replace(step=step, mine=known))
            return
        for identity in (state.low - 1, state.high + 1):
            made = Job(identity, "new", secret="secret-after-admit" in self.without)
            bounds = {"low": min(state.low, identity), "high": max(state.high, identity)}
            taken = _put(state._replace(**bounds), request.place, made)
            what = f"{who}: takes place {request.place} as job {identity}"
            yield what, _next(taken, number, request._replace(step=step, mine=made))

    def _read(self, state: State, number: int, request: Request, who: str) -> Iterator[Move]:
        other = state.jobs[1 - request.place]
        what = f"{who}: reads place {1 - request.place}, {_words(other)}"
        if request.mine.claim != "yielded":
            yield what, _next(state, number, request._replace(step="act", other=other))
        elif other and (_settled(other, self.without) or other.claim == "new"):
            yield what, self._go_on(state, number, Request("read", 1 - request.place, other))
        else:
            yield f"{what}, and answers that it is unavailable", _next(state, number, None)

    def _act(self, state: State, number: int, request: Request, who: str) -> Iterator[Move]:
        mine, other, place = request.mine, request.other, request.place
        rival = other is not None and other.claim == "new" and not other.cancelled
        again = request._replace(step="read", other=None)
        if self._yields(mine, other):
            after, moved = self._moved(state, place, mine, "yielded")
            what = f"{who}: its job {mine.identity} yields{'' if moved else ', which is refused'}"
            yield what, self._reread(after, number, again, moved, "yielded")
        elif rival and "mark-first" not in self.without:
            after, moved = self._moved(state, 1 - place, other, "yielded")
            yield (
                f"{who}: marks job {other.identity} as yielded{'' if moved else ', which is refused'}",
                _next(after, number, again),
            )
        else:
            after, moved = self._moved(state, place, mine, "admitted")
            what = f"{who}: admits its job {mine.identity}{'' if moved else ', which is refused'}"
            yield what, self._reread(after, number, again, moved, "admitted")

    def _yields(self, mine: Job, other: Job | None) -> bool:
        """See claims.decide."""
        if other is None or _settled(other, self.without):
            return other is not None
        rival = other.claim == "new" and not other.cancelled
        return rival and (other.identity < mine.identity or "lesser-wins" in self.without)

    def _secret(self, state: State, number: int, request: Request, who: str) -> Iterator[Move]:
        job = state.jobs[request.place]
        if job and job.identity == request.mine.identity and not job.cancelled:
            state = _put(state, request.place, job._replace(secret=True))
        yield f"{who}: creates the Secret in place {request.place}, and answers", _next(state, number, None)

    def _moved(self, state: State, place: int, known: Job, claim: str) -> tuple[State, bool]:
        """See claim_patch."""
        job = state.jobs[place]
        if job is None or (job.identity != known.identity and "claim-tests-identity" not in self.without):
            return state, False
        if job.claim != known.claim and "claim-tests-claim" not in self.without:
            return state, False
        if job.cancelled:
            return state, False
        return _put(state, place, job._replace(claim=claim)), True

    def _reread(self, state: State, number: int, request: Request, moved: bool, claim: str) -> State:
        mine = request.mine._replace(claim=claim) if moved else state.jobs[request.place]
        if mine is None:
            return _next(state, number, None)
        return self._go_on(state, number, request._replace(mine=mine))

    def _go_on(self, state: State, number: int, request: Request) -> State:
        if request.mine.cancelled or request.mine.claim == "ended":
            return _next(state, number, None)
        if request.mine.claim == "admitted":
            return _next(state, number, request._replace(step="secret", other=None))
        return _next(state, number, request)

    # The end of a claim without a job. See Driver.end and claiming.yield_if_taken.

    def _end(self, state: State) -> Iterator[Move]:
        if state.ending:
            yield from self._end_of(state, state.ending)
        elif state.ends and (not any(state.requests) or "abandoned-outlasts-requests" in self.without):
            for place, job in enumerate(state.jobs):
                if job and job.claim == "new" and not job.cancelled:
                    what = f"tracker: reads job {job.identity} in place {place}, which nobody has admitted"
                    yield what, state._replace(ending=End(place, job), ends=state.ends - 1)

    def _end_of(self, state: State, ending: End) -> Iterator[Move]:
        place, mine, read, other = ending
        elsewhere = None if "end-reads-elsewhere" in self.without else state.jobs[1 - place]
        done = state._replace(ending=None)
        if not read:
            what = f"tracker: reads place {1 - place}, {_words(elsewhere)}"
            yield what, state._replace(ending=End(place, mine, True, elsewhere))
        elif self._yields(mine, other):
            yield f"tracker: lets job {mine.identity} yield", self._moved(done, place, mine, "yielded")[0]
        else:
            yield f"tracker: ends job {mine.identity} as deleted", self._ended(done, place, mine)

    def _ended(self, state: State, place: int, known: Job) -> State:
        job = state.jobs[place]
        if job is None or (job != known and "end-tests-claim" not in self.without):
            return state
        if job.claim == "admitted":
            state = state._replace(bad="a run was ended as deleted that was admitted")
        return _put(state, place, job._replace(claim="ended"))

    # A cancel.

    def _cancel(self, state: State) -> Iterator[Move]:
        if state.cancelling is None:
            if state.cancels:
                begun = state._replace(cancels=state.cancels - 1, cancelling=(1, 0, False))
                yield "client: a cancel begins", begun
            return
        yield "client: dies during the cancel", state._replace(cancelling=None)
        number, place, found = state.cancelling
        job = state.jobs[place]
        claims = ("yielded",) if "claim-is-no-job" in self.without else ("new", "yielded")
        if job and (job.cancelled or (number == 1 and job.claim in claims)):
            here = job.cancelled and (number == 2 or job.claim != "")
            what = f"the cancel finds {_words(job)} in place {place}"
        elif job:
            state, here = _put(state, place, job._replace(cancelled=True)), True
            what = f"the cancel patches job {job.identity} in place {place}"
        elif number == 2:
            identity = state.high + 1
            state = _put(state._replace(high=identity), place, Job(identity, "", cancelled=True))
            here, what = True, f"the cancel puts a tombstone in place {place}"
        else:
            here, what = False, f"the cancel finds nothing in place {place}"
        yield f"client: {what}", _cancelled(state, number, place, found or here, self.without)


def _cancelled(state: State, number: int, place: int, found: bool, without: frozenset[str]) -> State:
    if place == 0 and not (number == 2 and "tombstone-everywhere" in without):
        return state._replace(cancelling=(number, 1, found))
    if number == 1 and not found:
        return state._replace(cancelling=(2, 0, False))
    return state._replace(cancelling=None, confirmed=True)


def _settled(job: Job, without: frozenset[str]) -> bool:
    if job.cancelled:
        return "cancelled-settles" not in without
    return job.claim in ("admitted", "ended")


def _next(state: State, number: int, request: Request | None) -> State:
    requests = tuple(request if at == number else each for at, each in enumerate(state.requests))
    return state._replace(requests=requests)


def _put(state: State, place: int, job: Job | None) -> State:
    return state._replace(jobs=(job, state.jobs[1]) if place == 0 else (state.jobs[0], job))


def _words(job: Job | None) -> str:
    if job is None:
        return "nothing"
    state = "cancelled" if job.cancelled else job.claim
    return f"job {job.identity}, {state}"


def worlds(without: frozenset[str] = frozenset()) -> list[ClaimsWorld]:
    """The bounds within which everything is tried."""
    return [
        ClaimsWorld("a race and a repeat", without, submits=3),
        ClaimsWorld("a race and a cancel", without, submits=2, cancels=1),
        ClaimsWorld("a race and an end", without, submits=3, ends=1),
        ClaimsWorld("a deleted job", without, begun=(0, 0, 1), deletes=1),
    ]
