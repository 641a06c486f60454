"""One check: some questions, asked at the same time, and one line that says what they found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import msgspec

from runner.errors import OrchestratorError
from runner.runtime.clock import Clock, Deadline
from runner.runtime.concurrency import start_thread

SECONDS = 10.0
"""For each question, from the start of all. An error of the server's own has a second more to arrive."""

GRACE_SECONDS = 1.0

AT_ONCE = 32
"""Questions asked at the same time."""

FoundState = Literal["ok", "note", "not ok"]
_BY_WEIGHT: tuple[FoundState, ...] = ("not ok", "note", "ok")


class Finding(msgspec.Struct, frozen=True):
    """What a question found. A note is what an operator should know, and no error."""

    text: str = ""
    state: FoundState = "ok"
    advice: str = ""
    """What to do next, where the text does not say it."""


Question = Callable[[Deadline], Finding]
"""Raises OrchestratorError where there is no good answer by the deadline."""


class ConnectCheck(msgspec.Struct, frozen=True):
    """One line of the output."""

    what: str
    questions: tuple[Question, ...]


def run(checks: Sequence[ConnectCheck], clock: Clock) -> Iterator[tuple[ConnectCheck, Finding]]:
    """Ask everything at once. A question that is not answered in time delays no other; its thread is left alone."""
    deadline = Deadline.after(SECONDS, clock)
    until = Deadline(deadline.at + GRACE_SECONDS, clock)
    slots = threading.Semaphore(AT_ONCE)
    started = [
        (check, [start_thread(partial(_ask, question, slots, deadline)) for question in check.questions])
        for check in checks
    ]
    for check, answers in started:
        yield check, _together([_answer(wait, until) for wait in answers])


def _ask(question: Question, slots: threading.Semaphore, deadline: Deadline) -> Finding:
    if not slots.acquire(timeout=max(deadline.left, 0)):
        return _late()
    try:
        return question(deadline)
    except OrchestratorError as error:
        return Finding(error.detail, "not ok")
    except msgspec.MsgspecError:
        return Finding("the server answers with something else; check its address", "not ok")
    finally:
        slots.release()


def _answer(wait: Callable[[Deadline], Finding], until: Deadline) -> Finding:
    try:
        return wait(until)
    except TimeoutError:
        return _late()


def _late() -> Finding:
    return Finding(f"no answer within {SECONDS:.0f} s", "not ok", "check the address, the network and the server")


def _together(found: Sequence[Finding]) -> Finding:
    """The worst state, with the texts of that state, then the advice. Each text is given once."""
    state = next(each for each in _BY_WEIGHT if each in {one.state for one in found})
    chosen = [one for one in found if one.state == state]
    texts = dict.fromkeys(one.text for one in chosen if one.text)
    advice = dict.fromkeys(one.advice for one in chosen if one.advice)
    return Finding("; ".join([", ".join(texts), *advice] if texts else advice), state)
