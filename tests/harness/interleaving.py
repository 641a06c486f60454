"""Several calls whose steps alternate in an order that a seed decides. They run in greenlets, so it replays exactly."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from greenlet import getcurrent, greenlet

_Result = TypeVar("_Result")


def give_way() -> None:
    """End this step: another call may be next. Outside of `interleaved` it does nothing."""
    if (parent := getcurrent().parent) is not None:
        parent.switch()


def interleaved(random: Random, *calls: Callable[[], _Result]) -> list[_Result]:
    """The results, in the order of the calls."""
    results: dict[int, _Result] = {}

    def run(number: int) -> None:
        results[number] = calls[number]()

    tasks = [greenlet(run) for _ in calls]
    started: set[int] = set()
    while live := [number for number, task in enumerate(tasks) if not task.dead]:
        number = random.choice(live)
        if number in started:
            tasks[number].switch()
        else:
            started.add(number)
            tasks[number].switch(number)
    return [results[number] for number in range(len(calls))]
