"""Visits every state of a model, breadth first, and checks it. It knows nothing of what the model is about.

A model is safe if no reachable state is wrong. It is live if from every reachable state the model's own moves alone
(those of trackers and clusters, `fair`) can reach a state in which nothing is pending. So a client that dies, a person
and a fault are never needed. The first counterexample found has the fewest moves.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

Move = tuple[str, Any]
"""What happens, beginning with the actor like `tracker A: publishes`, and the state after it."""

FAIR = ("tracker", "cluster")
"""Actors that go on by themselves."""


class World(Protocol):
    """A model with its bounds."""

    name: str

    def initial(self) -> Any:
        """The first state."""

    def moves(self, state: Any) -> Iterable[Move]:
        """All that can happen next."""

    def wrong(self, state: Any) -> str:
        """Which promise this state breaks; empty if none."""

    def pending(self, state: Any) -> bool:
        """Whether something is promised and not yet done."""


class Result(NamedTuple):
    """The number of states that were visited; and which promise is broken, with the shortest way to it."""

    states: int
    broken: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.broken:
            return f"{self.states} states: every promise holds"
        steps = "\n".join(f"  {number:2}. {what}" for number, what in enumerate(self.trace, 1))
        return f"after {self.states} states: {self.broken}\n{steps}"


def explore(world: World) -> Result:
    """Visit every state until a promise is broken."""
    gc.disable()  # all that is kept is needed until the end, and there are no cycles
    try:
        return _explore(world)
    finally:
        gc.enable()


def _explore(world: World) -> Result:
    first = world.initial()
    numbers: dict[Any, int] = {first: 0}
    came: list[tuple[int, str]] = [(-1, "")]
    behind: dict[int, list[int]] = {}
    """For each state, the pending states from which a fair move leads to it."""
    done: list[int] = []
    queue = deque([first])
    while queue:
        state = queue.popleft()
        number = numbers[state]
        if broken := world.wrong(state):
            return Result(len(numbers), broken, _trace(came, number))
        pending = world.pending(state)
        if not pending:
            done.append(number)
        for what, following in world.moves(state):
            known = numbers.get(following)
            if known is None:
                known = numbers[following] = len(numbers)
                came.append((number, what))
                queue.append(following)
            if pending and what.startswith(FAIR):
                behind.setdefault(known, []).append(number)
    stuck = _stuck(len(numbers), behind, done)
    if stuck is None:
        return Result(len(numbers))
    return Result(len(numbers), "from here nothing publishes what is pending", _trace(came, stuck))


def shortest(worlds: Iterable[World]) -> Result:
    """Explore the worlds, one after the other, until a promise is broken."""
    states = 0
    for world in worlds:
        found = explore(world)
        states += found.states
        if found.broken:
            return found._replace(states=states, broken=f"{found.broken} (world: {world.name})")
    return Result(states)


def _stuck(states: int, behind: dict[int, list[int]], done: list[int]) -> int | None:
    """The first state from which fair moves alone never reach one of `done`."""
    reaches = bytearray(states)
    queue = deque(done)
    for number in done:
        reaches[number] = 1
    while queue:
        for number in behind.get(queue.popleft(), ()):
            if not reaches[number]:
                reaches[number] = 1
                queue.append(number)
    stuck = reaches.find(0)
    return None if stuck < 0 else stuck


def _trace(came: list[tuple[int, str]], number: int) -> tuple[str, ...]:
    steps: list[str] = []
    while number:
        number, what = came[number]
        steps.append(what)
    return tuple(reversed(steps))


Build = Callable[[frozenset[str]], Sequence[World]]
"""Makes an engine's worlds without the guards and assumptions of these names."""
