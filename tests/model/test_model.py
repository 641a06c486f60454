"""Every promise holds in every order of steps, and none of the guards can be left out."""

from __future__ import annotations

from functools import reduce
from importlib import import_module

import pytest

from tests.model.explorer import explore, shortest
from tests.model.guards import ASSUMPTIONS, GUARDS, WORLDS

LEAST_STATES = 100_000
EACH = [(engine, name) for engine in WORLDS for name in (*GUARDS[engine], *ASSUMPTIONS[engine])]


def test_every_promise_holds_in_every_state() -> None:
    found = {(engine, world.name): explore(world) for engine in WORLDS for world in WORLDS[engine](frozenset())}
    assert [str(result) for result in found.values() if result.broken] == []
    states = sum(result.states for result in found.values())
    assert states >= LEAST_STATES


@pytest.mark.parametrize(("engine", "name"), EACH)
def test_without_it_a_promise_is_broken(engine: str, name: str) -> None:
    found = shortest(WORLDS[engine](frozenset({name})))
    print(f"without {name}, {found}")
    assert found.broken
    assert found.trace


@pytest.mark.parametrize("place", sorted({place for guards in GUARDS.values() for place in guards.values()}))
def test_the_product_has_the_function_of_a_guard(place: str) -> None:
    module, _, name = place.partition(":")
    assert callable(reduce(getattr, name.split("."), import_module(module)))
