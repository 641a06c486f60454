"""Tasks and a clock for tests of concurrent code: nothing happens until the test says so, then in a fixed order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from greenlet import getcurrent, greenlet

from tests.harness.clock import ManualClock


class SteppedTasks:
    """Implements Tasks and Clock. `advance` runs every task up to that time, each until it waits."""

    def __init__(self) -> None:
        self._time = ManualClock()
        self._main = getcurrent()
        self._ready: list[greenlet] = []
        self._timers: list[tuple[float, int, SteppedSignal]] = []
        self._numbers = count()

    def start(self, name: str, run: Callable[[], None]) -> None:
        self._ready.append(greenlet(run, parent=self._main))

    def signal(self) -> SteppedSignal:
        return SteppedSignal(self)

    def wall(self) -> float:
        return self._time.wall()

    def monotonic(self) -> float:
        return self._time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.signal().wait(seconds)

    def settle(self) -> None:
        """Run all tasks until each of them waits."""
        for _ in range(1_000_000):
            if not self._ready:
                return
            self._ready.pop(0).switch()
        raise AssertionError("the tasks never come to rest")

    def advance(self, seconds: float) -> None:
        """Let this time pass."""
        until = self._time.monotonic() + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= until:
            at, _, signal = heapq.heappop(self._timers)
            self._time.advance(max(0.0, at - self._time.monotonic()))
            signal.time_out(at)
            self.settle()
        self._time.advance(max(0.0, until - self._time.monotonic()))

    def wait_for(self, signal: SteppedSignal, timeout: float | None) -> None:
        """Let the other tasks run until the signal is set or its time is over."""
        if getcurrent() is self._main:
            self.advance(timeout or 0.0)
            return
        if timeout is not None:
            heapq.heappush(self._timers, (self.monotonic() + timeout, next(self._numbers), signal))
        self._main.switch()

    def resume(self, task: greenlet) -> None:
        """Run the task again, after those that are ready already."""
        self._ready.append(task)


class SteppedSignal:
    """A flag that tasks wait for."""

    def __init__(self, tasks: SteppedTasks) -> None:
        self._tasks = tasks
        self._set = False
        self._waiting: list[tuple[greenlet, float | None]] = []

    def set(self) -> None:
        self._set = True
        self._wake_all()

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set and (timeout is None or timeout > 0):
            until = None if timeout is None else self._tasks.monotonic() + timeout
            self._waiting.append((getcurrent(), until))
            self._tasks.wait_for(self, timeout)
        return self._set

    def time_out(self, at: float) -> None:
        """Wake those that waited until then."""
        late = [each for each in self._waiting if each[1] is not None and each[1] <= at]
        self._waiting = [each for each in self._waiting if each not in late]
        for task, _ in late:
            self._tasks.resume(task)

    def _wake_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task, _ in waiting:
            self._tasks.resume(task)
