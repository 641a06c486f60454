"""Every promise holds in every order of steps, and none of the guards can be left out."""

from __future__ import annotations

import re
import time
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from tests.model.explorer import explore, shortest
from tests.model.guards import ASSUMPTIONS, GUARDS, WORLDS

pytestmark = pytest.mark.timeout(600)  # far more than it takes on two busy cores

LEAST_STATES = 100_000
_NAME = re.compile(r'"([a-z]+(?:-[a-z]+)*)"(?:, [^"\n]*)?(?: not)? in (?:self\._?)?without')
EACH = [(engine, name) for engine in WORLDS for name in (*GUARDS[engine], *ASSUMPTIONS[engine])]


def test_every_promise_holds_in_every_state() -> None:
    began = time.process_time()
    found = {(engine, world.name): explore(world) for engine in WORLDS for world in WORLDS[engine](frozenset())}
    seconds = time.process_time() - began
    states = sum(result.states for result in found.values())
    print(f"{states} states in {seconds:.0f} s")
    assert [str(result) for result in found.values() if result.broken] == []
    assert states >= LEAST_STATES


def test_every_guard_of_the_models_is_in_the_table() -> None:
    sources = [each.read_text(encoding="utf-8") for each in Path(__file__).parent.glob("*.py")]
    used = {name for source in sources for name in _NAME.findall(source)}
    assert used - {name for _, name in EACH} == set()
    assert len(used) > 20  # the pattern still finds them


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
