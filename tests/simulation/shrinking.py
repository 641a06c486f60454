"""Finds a small scenario for a promise that a seed has broken: hypothesis leaves out whatever is not needed for it.

A smaller scenario takes other steps, so the same promise may hold in it by chance. Each try may therefore also be
played in another order of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from random import Random
from typing import Any, NamedTuple, TypeVar

import hypothesis
from hypothesis import strategies as st

from tests.simulation.clients import Intent
from tests.simulation.scenario import Scenario
from tests.simulation.scheduler import Stuck
from tests.simulation.seams.network import Weather
from tests.simulation.world import planned, simulate

TRIES = 200
"""Scenarios that are tried until the first one breaks the promise as well."""

ORDERS = 4
"""Orders of steps in which a scenario may be played."""

_KEEPS_OF_TEN = 9
"""How many parts of ten the first tries keep. Leaving a part out is simpler for hypothesis than keeping it."""

_Part = TypeVar("_Part")


class Small(NamedTuple):
    """A scenario, the order of steps in which it breaks a promise, and the first promise."""

    plan: Scenario
    order: int
    broken: str

    def __str__(self) -> str:
        return "\n".join([self.broken, f"with {self.order} as the scheduler's seed:", *_described(self.plan)])


def broken(seed: int, engine: str, plan: Scenario | None = None) -> str:
    """The first broken promise of a run; empty if all hold."""
    try:
        found = simulate(seed, engine, plan=plan).violations
    except Stuck as error:
        return str(error).partition("\n")[0]
    return next(iter(found), "")


def shrunk(seed: int, engine: str) -> Small | None:
    """A small scenario that breaks the same promise as the seed does. None if the seed breaks none."""
    plan, first = planned(seed, engine), broken(seed, engine)
    if not first:
        return None

    def breaks(tried: tuple[Scenario, int]) -> bool:
        return _kind(broken(tried[1], engine, tried[0])) == _kind(first)

    settings = hypothesis.settings(
        max_examples=TRIES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    try:
        orders = st.integers(0, ORDERS - 1).map(lambda number: seed + number)
        small, order = hypothesis.find(
            st.tuples(parts_of(plan), orders), breaks, settings=settings, random=Random(seed)
        )
    except hypothesis.errors.NoSuchExample:
        return Small(plan, seed, first)
    return Small(small, order, broken(order, engine, small))


@st.composite
def parts_of(draw: st.DrawFn, plan: Scenario) -> Scenario:
    """The scenario with some of its parts left out."""

    def keeps() -> bool:
        return draw(st.integers(0, _KEEPS_OF_TEN)) > 0

    def some(parts: Sequence[_Part]) -> tuple[_Part, ...]:
        return tuple(part for part in parts if keeps())

    weather = {each.name: getattr(plan.weather, each.name) for each in fields(Weather)}
    kept: dict[str, Any] = {name: value for name, value in weather.items() if value and keeps()}
    intents = (Intent(each.name, some(each.submits), some(each.cancels)) for each in plan.intents)
    return replace(
        plan,
        intents=tuple(each for each in intents if each.submits or each.cancels),
        weather=Weather(**kept),
        refusing=plan.refusing if plan.refusing and keeps() else 0.0,
        kills=some(plan.kills),
        deletions=some(plan.deletions),
        resends=some(plan.resends),
        compactions=some(plan.compactions),
        pools=plan.pools if keeps() else plan.pools[:1],
        slow_controllers=plan.slow_controllers and keeps(),
        quotas={name: seconds for name, seconds in plan.quotas.items() if keeps()},
        queued={name: seconds for name, seconds in plan.queued.items() if keeps()},
        skews={who: skew for who, skew in plan.skews.items() if skew and keeps()},
    )


def _kind(text: str) -> str:
    """The promise, or the error that stopped the run, without names and times."""
    _, stopped, error = text.partition(" ended with ")
    return error.partition(" at ")[0] if stopped else text.partition(":")[0]


def _described(plan: Scenario) -> list[str]:
    lines = [f"  {each}" for each in plan.intents]
    for each in fields(Weather):
        if value := getattr(plan.weather, each.name):
            lines.append(f"  weather: {each.name}={value}")
    for each in fields(Scenario):
        value = getattr(plan, each.name)
        if each.name not in ("intents", "weather") and value and value != ("default",):
            lines.append(f"  {each.name}={value}")
    return lines
