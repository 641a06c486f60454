"""Two jobs of one name, in two engines of which one was silent: see `settlement` in runner/drivers/claims.py.

    settler    reads both jobs ─▶ lets its own yield, makes the other one yield first, or admits its own
    publisher  admitted, or its end stored ─▶ publishes ─▶ marks; an assumed one: settle, or store the end if silent

Each engine has a publisher and a settler; two settlers are two leaders by accident. Each step is one request, so what
a settler has read may be old. The containers end at any time. A pod shows at once that its run failed, its Job later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explorer import Move

ENGINES = (0, 1)


class Job(NamedTuple):
    """The job in one engine. Its number is its rank."""

    claim: str = "assumed"
    run: str = "live"
    """live, ok, bad"""
    over: bool = False
    """The Job itself says that it has ended."""
    stored: bool = False
    marked: bool = False

    @property
    def published(self) -> bool:
        """See Standing.published."""
        return self.stored or self.marked or (self.over and self.run == "ok")


class Read(NamedTuple):
    """What a settler has read."""

    mine: Job
    other: Job


class State(NamedTuple):
    """Both jobs, what each settler has read, whose publisher is between publishing and its mark, and atlas."""

    jobs: tuple[Job, Job]
    reads: tuple[Read | None, ...]
    publishing: tuple[bool, bool] = (False, False)
    atlas: frozenset[tuple[int, str]] = frozenset()
    silences: int = 0


class SettlementWorld:
    """See World."""

    def __init__(
        self,
        name: str,
        without: frozenset[str],
        jobs: tuple[Job, Job],
        *,
        silences: int = 0,
        settlers: tuple[int, ...] = ENGINES,
    ) -> None:
        self.name = name
        self.without = without
        self._settlers = settlers
        self._first = State(jobs, (None,) * len(settlers), silences=silences)
        # An admitted job does not look elsewhere, nor can one whose other engine is silent.
        self._compares = not silences and all(job.claim != "admitted" for job in jobs)

    def initial(self) -> State:
        """See World."""
        return self._first

    def pending(self, state: State) -> bool:
        """See World. The run has an end that atlas must receive."""
        return not state.atlas

    def wrong(self, state: State) -> str:
        """See World."""
        if all(job.claim == "yielded" for job in state.jobs):
            return "both have yielded"
        kinds = [kind for _, kind in state.atlas]
        if kinds.count("end") > 1:
            return "one run has two published failures"
        if len(set(kinds)) > 1 and self._compares:
            return "a published success is contradicted by a failure"
        return ""

    def moves(self, state: State) -> Iterator[Move]:
        """See World."""
        for engine in ENGINES:
            yield from self._run(state, engine)
            yield from self._publish(state, engine)
        for settler, engine in enumerate(self._settlers):
            if state.jobs[engine].claim == "assumed":
                yield from self._settle(state, engine, settler)

    def _run(self, state: State, engine: int) -> Iterator[Move]:
        job = state.jobs[engine]
        if job.run == "live" and job.claim != "yielded" and not job.stored:
            heard = state.atlas | {(engine, "success")}
            yield f"cluster {engine}: the run succeeds", _put(state, engine, job._replace(run="ok"), atlas=heard)
            yield f"cluster {engine}: the run fails", _put(state, engine, job._replace(run="bad"))
        if job.run != "live" and not job.over and job.claim != "yielded":
            yield f"cluster {engine}: the Job shows its end", _put(state, engine, job._replace(over=True))

    # See DriverTracker and Driver.end.

    def _publish(self, state: State, engine: int) -> Iterator[Move]:
        job, who = state.jobs[engine], f"tracker {engine}"
        if state.publishing[engine]:
            published = _publishing(state, engine, False)
            yield f"{who}: marks the job", _put(published, engine, job._replace(marked=True))
            return
        if job.marked or job.claim == "yielded" or job.run == "live":
            return
        if job.run == "ok":
            yield f"{who}: marks the success", _put(state, engine, job._replace(marked=True))
        elif job.claim == "admitted" or job.stored or "settle-before-publish" in self.without:
            heard = state.atlas | {(engine, "end")}
            yield f"{who}: publishes the failure", _publishing(state._replace(atlas=heard), engine, True)
        elif state.silences or "both-silent" in self.without:
            left = state._replace(silences=max(0, state.silences - 1))
            if "store-before-publish" in self.without:
                heard = state.atlas | {(engine, "end")}
                yield f"{who}: publishes, as the other is silent", _publishing(left._replace(atlas=heard), engine, True)
            else:
                yield f"{who}: stores the end, as the other is silent", _put(left, engine, job._replace(stored=True))

    # See claiming.settle.

    def _settle(self, state: State, engine: int, settler: int) -> Iterator[Move]:
        read, who = state.reads[settler], f"tracker {engine}"
        if read is None:
            yield f"{who}: reads both jobs", _reading(state, settler, Read(state.jobs[engine], state.jobs[1 - engine]))
            return
        state = _reading(state, settler, None)
        decision = self._decide(engine, read)
        if decision == "admit":
            yield f"{who}: admits its job", self._moved(state, engine, read.mine, "admitted")
        elif decision == "yield":
            yield f"{who}: lets its job yield", self._moved(state, engine, read.mine, "yielded")
        else:
            yield f"{who}: makes the other yield", self._moved(state, 1 - engine, read.other, "yielded")

    def _decide(self, engine: int, read: Read) -> str:
        mine, other = read
        if other.claim == "yielded":
            return "admit"
        if mine.published and "published-stays" not in self.without:
            return "mark" if not other.published else "admit"
        if other.published or other.claim == "admitted":
            return "yield"
        if mine.over != other.over:
            return "mark" if mine.over else "yield"
        if "settle-mark-first" in self.without:
            return "admit" if engine == 0 else "yield"
        return "mark" if engine == 0 else "yield"

    def _moved(self, state: State, engine: int, known: Job, claim: str) -> State:
        """See Place.move. What only the pod shows changes nothing of the Job, so it fails no test."""
        job = state.jobs[engine]
        if job.claim != known.claim:
            return state
        if claim == "yielded":
            if job.run == "ok" and "success-stays" not in self.without:
                return state
            if _version(job) != _version(known) and "yield-version" not in self.without:
                return state
        return _put(state, engine, job._replace(claim=claim))


def _version(job: Job) -> Job:
    return job._replace(run="")


def _put(state: State, engine: int, job: Job, atlas: frozenset[tuple[int, str]] | None = None) -> State:
    jobs = (job, state.jobs[1]) if engine == 0 else (state.jobs[0], job)
    return state._replace(jobs=jobs, atlas=state.atlas if atlas is None else atlas)


def _publishing(state: State, engine: int, value: bool) -> State:
    return state._replace(publishing=tuple(value if each == engine else state.publishing[each] for each in ENGINES))


def _reading(state: State, settler: int, read: Read | None) -> State:
    return state._replace(reads=tuple(read if at == settler else each for at, each in enumerate(state.reads)))


def worlds(without: frozenset[str] = frozenset()) -> list[SettlementWorld]:
    """The bounds within which everything is tried."""
    assumed, admitted = Job(), Job("admitted")
    return [
        SettlementWorld("two assumed jobs", without, (assumed, assumed)),
        SettlementWorld("two leaders of one engine", without, (assumed, assumed), settlers=(0, 0, 1)),
        SettlementWorld("an engine is silent at an end", without, (assumed, assumed), silences=1),
        SettlementWorld("an admitted job and an assumed one", without, (admitted, assumed)),
        SettlementWorld("an assumed job and an admitted one", without, (assumed, admitted)),
    ]
