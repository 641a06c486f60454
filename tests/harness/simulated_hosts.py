"""Several hosts in virtual time: a task runs until it waits, and a seed decides which of the due tasks is next.

world = World(seed=1)
host = world.host()
host.start("work", work)          # work waits by host.sleep, or by a signal of host.signal()
world.run(60.0)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet


class World:
    """Virtual time. `after_each` is called after each step of a task."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.after_each: Callable[[], None] = lambda: None
        self._due: list[tuple[float, float, int, Wake]] = []
        self._count = 0

    def host(self, rate: float = 1.0) -> Host:
        """A new host, whose monotonic clock starts anywhere and runs at that rate."""
        return Host(self, rate)

    def schedule(self, wake: Wake, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + max(seconds, 0.0), self.random.random(), self._count, wake))

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> float:
        """Run for so long, or until the condition holds after a step. Returns the seconds that it took."""
        began, end = self.now, self.now + seconds
        while not until():
            if not self._due or self._due[0][0] > end:
                self.now = end
                break
            at, _, _, wake = heapq.heappop(self._due)
            self.now = max(self.now, at)
            wake.fire()
            self.after_each()
        return self.now - began


class Wake:
    """Resumes a waiting task, once."""

    def __init__(self, host: Host, task: Any) -> None:
        self._host = host
        self._task = task
        self._done = False

    def fire(self) -> None:
        if self._host.dead or self._done:
            return
        if self._host.frozen:
            self._host.held_back.append(self)
            return
        self._done = True
        self._task.switch()


class Host:
    """One process on a host of its own: its Clock and its Tasks."""

    def __init__(self, world: World, rate: float) -> None:
        self.world = world
        self._rate = rate
        self._offset = world.random.uniform(0, 1e6)
        self.dead = False
        self.frozen = False
        self.held_back: list[Wake] = []

    def wall(self) -> float:
        raise AssertionError("the wall clock may be stepped, and no decision may depend on it")

    def monotonic(self) -> float:
        return self._offset + self.world.now * self._rate

    def sleep(self, seconds: float) -> None:
        task = getcurrent()
        assert task.parent is not None, "only a task may wait"
        self.world.schedule(Wake(self, task), seconds / self._rate)
        task.parent.switch()

    def start(self, _name: str, run: Callable[[], None]) -> None:
        """See Tasks.start."""
        main = getcurrent()
        while main.parent is not None:
            main = main.parent
        self.world.schedule(Wake(self, greenlet(run, main)), 0)

    def signal(self) -> SimulatedSignal:
        """See Tasks.signal."""
        return SimulatedSignal(self)

    def kill(self) -> None:
        """As SIGKILL: none of its tasks takes another step."""
        self.dead = True

    def freeze(self) -> None:
        """As SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """As SIGCONT."""
        self.frozen = False
        for wake in self.held_back:
            self.world.schedule(wake, 0)
        self.held_back.clear()


class SimulatedSignal:
    """See runner.runtime.tasks.Signal."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._up = False
        self._waiting: list[Wake] = []

    def set(self) -> None:
        self._up = True
        for wake in self._waiting:
            self._host.world.schedule(wake, 0)
        self._waiting.clear()

    def clear(self) -> None:
        self._up = False

    def is_set(self) -> bool:
        return self._up

    def wait(self, timeout: float | None = None) -> bool:
        if not self._up:
            task = getcurrent()
            assert task.parent is not None, "only a task may wait"
            wake = Wake(self._host, task)
            self._waiting.append(wake)
            if timeout is not None:
                self._host.world.schedule(wake, timeout)
            task.parent.switch()
        return self._up
