"""Holds the four promises against a history. It knows requests, answers, what atlas got, and what truly happened.

1. A 2xx means exactly one job: never two jobs run for one name.
2. Every accepted job's end reaches atlas, unless the job published its result itself: under one id, for a true reason.
3. A cancelled check stays cancelled, and its cancellation is confirmed under one id.
4. All of it holds whichever of our processes were killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from tests.simulation.checker import resends, waits
from tests.simulation.checker.runs import Run
from tests.simulation.fates import CODES
from tests.simulation.history import Arrival, Command, History

STOP_SECONDS = 12.0
"""How long after a cancel's 2xx a container of a job that was there already may still start: controllers lag."""

CLEAR_SECONDS = 20.0
"""Two things that are so far apart happened in that order for everybody."""


PROMPT_SECONDS = {"image missing": 30.0, "never fits": 65.0, "hangs": 180.0, "deleted": 60.0}
"""When nothing fails: how long after it happened its report may arrive, where that is more than AT_ONCE_SECONDS."""

AT_ONCE_SECONDS = 12.0

EARLY_SECONDS = 2.0
"""How much too early a limit may pass: both clocks of it have whole seconds."""

SETTLE_SECONDS = 45.0
"""How long after the last fault two engines may both have a job of one name: a tracker must lead, and look there."""


class Checker:
    """One name against its history."""

    def __init__(self, history: History, name: str, *, calm: bool, quiet: float, engines: int) -> None:
        self.name = name
        self.end_id, self.cancel_id = run_id(name), cancel_id(name)
        self._calm = calm
        self._engines = engines
        self._settled = 0.0 if calm else quiet + SETTLE_SECONDS
        """From then on one engine has the name at the most."""
        self._commands = [each for each in history.commands if each.name == name]
        self._resends = [each for each in history.resends if each.name == name]
        self._arrivals = history.arrivals
        self._runs = tuple(_runs(history, name))
        self._tombstones = {(fact.engine, fact.place) for fact in history.of(name, "tombstone")}

    @property
    def runs(self) -> list[Run]:
        return [run for run in self._runs if not run.tombstone]

    def violations(self) -> Iterator[str]:
        """What must never be, at any time."""
        yield from self._doubled()
        yield from self._doubled_on()
        yield from self._contradicted()
        yield from self._ends()
        yield from self._revived()
        yield from self._late()
        yield from self._cancelled()
        gone = [fact.at for run in self.runs if (fact := run.first("deleted"))]
        if self._only_one_place:
            yield from resends.contradictions(self._resends, self._about_any, forgotten=min(gone, default=float("inf")))

    def pending(self) -> Iterator[str]:
        """What must come at last, and has not."""
        reported = {arrival.id for arrival in self._about(self.end_id)}
        needed = [run for run in self.runs if self._needs_report(run)]
        if len({(run.engine, run.place) for run in self.runs}) > 1:  # those that have yielded need none
            needed = needed[:1] if not any(run.published for run in self.runs) else []
        if self._engines > 1:  # what a claim has yielded to has the end
            begun = [run for run in needed if not run.yielded]
            needed = begun or ([] if any(run.published for run in self.runs) else needed[:1])
        if len(reported) < len(needed):
            yield f"promise 2: {len(needed)} runs of {self.name} need a report, atlas has {len(reported)}"
        if self._cancel_answers() and not self._about(self.cancel_id) and not self._removed():
            yield f"promise 3: the cancellation of {self.name} was never confirmed"
        if self._only_one_place and not self._removed():  # else somebody may have deleted that it was to be sent again
            yield from resends.unanswered(self._resends, self._about_any)
        for command in self._commands:
            if command.kind == "submit" and command.state in ("created", "exists") and not (self._runs or reported):
                yield f"promise 1: {self.name} was accepted and there is no job"

    def _doubled(self) -> Iterator[str]:
        started = [(fact.at, run) for run in self.runs if (fact := run.first("started"))]
        for at, run in started:
            for other_at, other in started:
                if other.engine != run.engine and max(run.made, at) < self._settled:
                    continue
                if other is not run and other_at <= at and other.gone > run.made:
                    yield (
                        f"promise 1: {self.name} runs twice: {other.place}/{other.identity} from {other_at:.2f} s"
                        f" and {run.place}/{run.identity} from {at:.2f} s"
                    )
        for command in self._commands:
            if command.state == "created" and not any(run.made <= command.ended for run in self._runs):
                yield f"promise 1: {self.name} was accepted at {command.ended:.2f} s and there was no job"

    def _doubled_on(self) -> Iterator[str]:
        """Two engines that both had a job of the name while one of them was silent, and still have."""
        for one, other in combinations(self.runs, 2):
            until = min(one.stopped, other.stopped)
            if one.engine != other.engine and until > self._settled and max(one.made, other.made) < until:
                yield f"promise 1: {self.name} runs in both engines until {until:.2f} s, not until {self._settled}"

    def _contradicted(self) -> Iterator[str]:
        """One run has one end, in whichever engine."""
        heard = [(arrival.at, arrival.id) for arrival in _firsts(self._about(self.end_id))]
        heard += [(fact.at, run.identity) for run in self.runs if (fact := run.first("published"))]
        first = min(heard, default=(0.0, ""))
        for at, identity in heard:
            if self._several_engines and not self._removed() and identity != first[1] and at > self._settled:
                yield f"promise 2: {self.name} has a second end at {at:.2f} s, after that at {first[0]:.2f} s"

    @property
    def _only_one_place(self) -> bool:
        """Whether one place can have what is sent again. Each of two sends, and knows, its own."""
        return len({(run.engine, run.place) for run in self._runs} | self._tombstones) == 1

    @property
    def _several_engines(self) -> bool:
        return len({run.engine for run in self.runs}) > 1

    def _ends(self) -> Iterator[str]:
        arrivals = self._about(self.end_id)
        ids = {arrival.id for arrival in arrivals}
        possible = [run for run in self.runs if not run.published or self._forgotten(run) or waits.overtaken(run)]
        if not self._runs and {arrival.code for arrival in arrivals} <= CODES["deleted"] and len(ids) <= 1:
            return  # a submit that nobody repeated in time: it never became a job, and never will
        if len(ids) > len(possible) + self._erased() + self._half_made():
            what = "published its own result" if self.runs and not possible else f"has {len(possible)} such runs"
            yield f"promise 2: {self.name} {what}, and atlas has {len(ids)} ids for its end"
        allowed = set().union(*(CODES.get(cause, frozenset()) for run in self.runs for cause in run.causes))
        # Atlas keeps the first result of an id. A stale list may make a new leader send another, which atlas drops.
        for arrival in _firsts(arrivals):
            true = allowed | self._waited_too_long(arrival.at)
            if self._erased() or self._never_accepted(arrival.at):
                true |= CODES["deleted"]
            if possible and arrival.code not in true:
                yield (
                    f"promise 2: the end of {self.name} was reported as {arrival.code} at {arrival.at:.2f} s,"
                    f" true were {sorted(true)}"
                )
        for arrival in arrivals:
            if not any(run.made <= arrival.at for run in self.runs):
                yield f"promise 2: an end of {self.name} was reported before it had a job"

    def _never_accepted(self, at: float) -> bool:
        """Whether, in one of two engines, only claims were left of a submit that nobody repeated in time."""
        accepted = any(each.state and each.ended <= at for each in self._commands if each.kind == "submit")
        return self._engines > 1 and not accepted and all(waits.started(run) > at for run in self.runs)

    def _never_begun(self, at: float) -> bool:
        """Whether the name had only claims that have yielded, and so a submit that nobody repeated in time."""
        return self._engines > 1 and all(run.yielded for run in self.runs if run.made <= at)

    def _half_made(self) -> int:
        """How many ends as deleted a submit may have that never became a job: one after the last job was gone."""
        unanswered = [each for each in self._commands if each.kind == "submit" and not each.state]
        ends = [arrival for arrival in _firsts(self._about(self.end_id)) if arrival.code in CODES["deleted"]]
        gone = max((run.gone for run in self.runs), default=float("inf"))
        return any(each.ended >= gone and any(end.at >= each.began for end in ends) for each in unanswered)

    def _erased(self) -> int:
        """How many jobs of two engines somebody deleted. What the other one has of the request may be reported then."""
        return sum(run.first("deleted") is not None for run in self.runs) if self._engines > 1 else 0

    def _revived(self) -> Iterator[str]:
        """What was reported as ended starts nothing any more."""
        arrivals = self._about(self.end_id)
        for fact in (each for run in self.runs for each in run.facts if each.what == "started"):
            if len(self._runs) == 1 and arrivals and fact.at > arrivals[0].at + STOP_SECONDS:
                yield f"promise 2: the end of {self.name} was reported, and {fact.detail} started at {fact.at:.2f} s"

    def _late(self) -> Iterator[str]:
        """In a calm world reports are prompt."""
        runs, arrivals = self.runs, self._about(self.end_id)
        if not self._calm or len(runs) != 1 or self._cancel_answers():
            return
        if not self._removed():
            yield from waits.overdue(runs[0], arrivals)
        if len(runs[0].causes) != 1:
            return
        happened, cause = runs[0].first("happened", "deleted"), next(iter(runs[0].causes))
        if happened and arrivals and cause not in ("evicted", "node lost"):
            took = arrivals[0].at - happened.at
            if took > PROMPT_SECONDS.get(cause, AT_ONCE_SECONDS):
                yield f"promise 2: {self.name} ({cause}) was reported after {took:.0f} s"

    def _forgotten(self, run: Run) -> bool:
        """Whether somebody deleted the job before everybody can have seen that it had published its result."""
        deleted = run.first("deleted")
        return deleted is not None and not (self._calm and run.over + CLEAR_SECONDS < deleted.at)

    def _waited_too_long(self, at: float) -> set[int]:
        """The codes, at that time, for a job that has not started in time. Its image may not have come in time."""
        codes: set[int] = set()
        for run in self.runs:
            cause, late = run.first("happened", "deleted"), waits.limit(run) - 1
            if waits.held_too_long(run) or waits.refused_too_long(run):
                codes |= CODES["not admitted"]
            first = cause is None or cause.at >= late or cause.detail == "never fits"  # which excludes no other reason
            if waits.started(run) >= late and at >= late - EARLY_SECONDS and first:
                codes |= CODES["incomplete"]
        return codes

    def _cancelled(self) -> Iterator[str]:
        answers = self._cancel_answers()
        confirmed = {arrival.id for arrival in self._about(self.cancel_id)}
        if len(confirmed) > 1:
            yield f"promise 3: the cancellation of {self.name} was confirmed under {len(confirmed)} ids"
        sent = [command for command in self._commands if command.kind == "cancel"]
        if confirmed and not sent:
            yield f"promise 3: a cancellation of {self.name} was confirmed and never asked for"
        stops = [command for command in answers if command.state == "cancelled"]
        if stops and not self._removed():
            stopped = max(stops[0].ended, self._settled if self._several_engines else 0.0)
            yield from self._late_starts(stopped)
        yield from self._confirmations(sent)

    def _late_starts(self, stopped: float) -> Iterator[str]:
        for run in self.runs:
            for fact in run.facts:
                allowed = stopped + (STOP_SECONDS if run.made < stopped else 0)
                if fact.what == "started" and fact.at > allowed:
                    yield (
                        f"promise 3: {self.name} was cancelled at {stopped:.2f} s, and {fact.detail} of"
                        f" {run.identity} started at {fact.at:.2f} s"
                    )

    def _confirmations(self, sent: list[Command]) -> Iterator[str]:
        """5000 where the cancel stopped the run or kept it from starting, 5001 where it had ended before."""
        for arrival in self._about(self.cancel_id):
            over = min((run.over for run in self.runs), default=float("inf"))
            ends = self._about(self.end_id)
            given_up = (ends and (not self._runs or self._never_begun(arrival.at))) or any(
                end.code in self._waited_too_long(end.at) for end in ends
            )
            ended = over != float("inf") or given_up or any(run.causes for run in self.runs)
            if arrival.code not in (5000, 5001):
                yield f"promise 3: the cancellation of {self.name} was confirmed with {arrival.code}"
            elif arrival.code == 5001 and not ended:
                yield f"promise 3: {self.name} was confirmed as already ended, and had not"
            elif (
                arrival.code == 5000
                and sent
                and not self._several_engines
                and over + CLEAR_SECONDS < sent[0].began
                and not self._removed()
            ):
                yield f"promise 3: {self.name} was confirmed as cancelled, and had ended at {over:.2f} s"

    def _about(self, run: str) -> list[Arrival]:
        return [arrival for arrival in self._arrivals if arrival.run_id == run]

    @property
    def _about_any(self) -> list[Arrival]:
        return [each for each in self._arrivals if each.run_id in (self.end_id, self.cancel_id)]

    def _cancel_answers(self) -> list[Command]:
        return [command for command in self._commands if command.kind == "cancel" and command.state]

    def _removed(self) -> bool:
        """Whether somebody deleted a job of this name, and our memory with it."""
        return any(run.first("deleted") for run in self._runs)

    def _needs_report(self, run: Run) -> bool:
        accepted = any(c.kind == "submit" and c.state in ("created", "exists") for c in self._commands)
        if not accepted or run.published or self._cancel_answers():
            return False  # a cancelled one's confirmation is enough
        return self._calm or run.first("deleted") is None


def run_id(name: str) -> str:
    """The run id in the report of a job's end."""
    return f"run of {name}"


def cancel_id(name: str) -> str:
    """The run id in the confirmation of its cancellation."""
    return f"cancel of {name}"


def _firsts(arrivals: list[Arrival]) -> list[Arrival]:
    """The first arrival of each id."""
    return list({arrival.id: arrival for arrival in reversed(arrivals)}.values())


def _runs(history: History, name: str) -> Iterator[Run]:
    facts = [fact for fact in history.of(name) if fact.what != "tombstone"]
    for identity in dict.fromkeys(fact.identity for fact in facts):
        its = tuple(fact for fact in facts if fact.identity == identity)
        yield Run(its[0].place, identity, its)
