"""`jobs explain`: in plain words why a job waits or how it ended, what atlas has, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from runner.cli.answers import REFUSED, last_answer
from runner.cli.configuration import config_option, load_or_exit
from runner.cli.known import age, duration, find, moment, now
from runner.config.types import LimitsSection
from runner.observation import Observation, Outcome
from runner.outcomes import classify
from runner.security.masking import shown
from runner.tracker.advice import (
    ADVICE,
    ENDING,
    HELD,
    NOTHING,
    STARTING,
    limit_of,
    outcome_if_unchanged,
    state_of,
    wait_of,
)
from runner.tracker.results import result_ids

_INDENT = " " * 11
_ADVICE_ON_DELAY = "Wait. If that lasts for minutes, look at its node, and at what is named above."


@click.command()
@click.argument("name")
@config_option
def explain(name: str, path: str | None) -> None:
    """Say why a job waits or how it ended, what atlas has accepted, and what to do next."""
    config = load_or_exit(path)
    seen = find(config, name).explained()
    click.echo(shown("\n".join(lines(seen, config.limits, last_answer(config, seen)))))


def lines(seen: Observation, limits: LimitsSection, answer: str = "") -> Iterator[str]:
    """The explanation of one job: a sentence, then one paragraph for each question that an operator has.

    `answer` is a sentence about what atlas answered last.
    """
    yield _sentence(seen)
    for label, text in (
        ("Why", _why(seen)),
        ("Until", _until(seen, limits)),
        ("Atlas", f"{_reported(seen)} {answer}"),
        ("Do next", _advice_on(answer, _advice(seen, limits), seen)),
    ):
        if text:
            yield ""
            yield f"{label:<{len(_INDENT)}}" + text.strip().replace("\n", f"\n{_INDENT}")


def _sentence(seen: Observation) -> str:
    outcome, state = classify(seen), state_of(seen)
    if outcome is None:
        doing = "runs" if state == "running" else "waits"
        return f"{seen.name} {doing} ({_where(seen)}), {age(seen.created)} after it was accepted."
    when = f" at {moment(seen.ended)}" if seen.ended else ""
    code = f", code {outcome.code}" if outcome.code else ""
    return f"{seen.name} ended{when} ({_where(seen)}): {outcome.reason}{code}. {outcome.hmessage}"


def _where(seen: Observation) -> str:
    return f"{seen.driver} {seen.place}".strip() + f", pool {seen.pool or 'unknown'}"


def _why(seen: Observation) -> str:
    if wait := wait_of(seen):
        return wait.text
    outcome = classify(seen)
    if outcome is None:
        return ENDING if seen.cancelled else ""
    if outcome.err:
        return outcome.err
    return "" if outcome.reason in ("succeeded", "cancelled") else "The cluster has no more evidence."


def _until(seen: Observation, limits: LimitsSection) -> str:
    """When its wait will be ended, and with which reason."""
    if (wait := wait_of(seen)) is None or seen.cancelled:
        return ""
    limit, outcome = limit_of(seen, limits), outcome_if_unchanged(seen)
    if limit is None:
        return "Nothing bounds this wait; set limits.admissionSeconds to bound it."
    end = f"ended as {outcome.reason} ({outcome.code})" if outcome else "ended as not_admitted (5111)"
    bound = f"{limit.key}, {duration(limit.seconds)}"
    if limit.at is None:
        return f"It is {end} once it has waited so for {duration(limit.seconds)} ({limit.key})."
    left = limit.at - now()
    if left <= 0:
        return f"It should have been {end} at {moment(limit.at)} ({bound}). Does a tracker run, and lead?"
    what = "If no container of it starts, it" if wait.reason == STARTING else "If that does not change, it"
    return f"{what} is {end} at {moment(limit.at)}, in {duration(left)} ({bound})."


def _reported(seen: Observation) -> str:
    outcome = classify(seen)
    if outcome is None:
        return "Nothing yet: it has not ended."
    if seen.set_aside:
        return "It refused the result for good, so the job was set aside, and is kept for seven days."
    if seen.reported:
        by_itself = outcome.reason == "succeeded" and not _is_sent(seen, outcome)
        return "The job published its result itself." if by_itself else "It has accepted the result."
    if outcome.reason == "succeeded" and not _is_sent(seen, outcome):
        return "The job published its result itself; the tracker has not marked the job yet."
    before = f" Before its cancel, {seen.published} was accepted." if seen.published else ""
    return f"The result is pending: the tracker sends it until atlas accepts it.{before}"


def _advice(seen: Observation, limits: LimitsSection) -> str:
    wait, limit = wait_of(seen), limit_of(seen, limits)
    outcome = outcome_if_unchanged(seen) if wait else classify(seen)
    if limit and limit.at is not None and limit.at <= now():
        return "Check that a tracker runs and leads."
    if wait and wait.reason in (HELD, STARTING):
        return _ADVICE_ON_DELAY if wait.reason == STARTING and seen.delay else ADVICE[wait.reason]
    if seen.set_aside:
        return f"Correct the cause of its answer, then send the result again: `jobs resend {seen.name}`."
    if outcome is None:
        return ""
    advice = ADVICE[outcome.reason].replace("what `err` names", "what is named above")
    has = "above is"
    if "log." in advice and "\n" not in outcome.err:  # only the exit code: the log was not read in time, or is empty
        has = f"perhaps `jobs logs {seen.name}` has"
    return advice.replace("; `err` has", f"; {has}").replace("`err` has", has[0].upper() + has[1:])


def _is_sent(seen: Observation, outcome: Outcome) -> bool:
    """Whether the tracker sends this result, and not the job itself."""
    return bool(result_ids(msgspec.structs.replace(seen, published=""), outcome))


def _advice_on(answer: str, advice: str, seen: Observation) -> str:
    """The advice, with what to do about a result that atlas has not accepted so far."""
    if seen.set_aside or not answer.startswith(REFUSED):
        return advice
    before = "" if advice == NOTHING else f"{advice} "
    where = "see docs/operate.md, `atlas accepts no results, or few`"
    return f"{before}Find out why atlas does not accept the result: {where}."
