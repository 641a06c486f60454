"""Carries out the steps of one command at the same time: an analysis of 256 checks is 256 jobs to create.

The command's own task takes one step after another. Helpers, which are tasks of their own, do the same. How many
helpers there are is bounded for each driver, over all commands of this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from runner.errors import Timeout
from runner.runtime.clock import Deadline
from runner.runtime.tasks import Signal, Tasks

T = TypeVar("T")

HELPERS: Mapping[str, int] = {"kubernetes": 31, "nomad": 31, "local": 3}
"""Creates that one process sends to a driver besides those that its commands send themselves; other drivers have none.

So one command has at most 32 creates in flight, and a command with one job never waits for a helper.
"""

GRACE_SECONDS = 1.0
"""For a helper to end after the deadline: each of its requests has the same one."""


class Parallel:
    """The helpers of one process. Thread-safe."""

    def __init__(self, tasks: Tasks, helpers: Mapping[str, int] = HELPERS) -> None:
        self._tasks = tasks
        self._idle = dict(helpers)
        self._lock = threading.Lock()  # never held during a wait

    def __repr__(self) -> str:
        return f"Parallel(idle={self._idle})"

    def run(self, driver: str, steps: Sequence[Callable[[], T]], deadline: Deadline) -> list[T]:
        """The results of all steps, in their order.

        After a step has failed, none is started any more. Those that are running end first; then the first error, in
        the order of the steps, is raised. Raises Timeout if they have not ended soon after the deadline.
        """
        if len(steps) == 1:
            return [steps[0]()]
        work = _Work(steps)
        ended: list[Signal] = []
        while (step := work.take()) is not None:
            while work.left and self._take_helper(driver):
                ended.append(self._start_helper(driver, work))
            work.do(step)
        for signal in ended:
            if not signal.wait(max(deadline.left, 0) + GRACE_SECONDS):
                raise Timeout("the deadline passed while creating the jobs; repeat the request")
        return work.results()

    def _take_helper(self, driver: str) -> bool:
        with self._lock:
            idle = self._idle.get(driver, 0)
            if idle:
                self._idle[driver] = idle - 1
        return idle > 0

    def _start_helper(self, driver: str, work: _Work[T]) -> Signal:
        ended = self._tasks.signal()

        def help_out() -> None:
            try:
                while (step := work.take()) is not None:
                    work.do(step)
            finally:
                with self._lock:
                    self._idle[driver] += 1
                ended.set()

        self._tasks.start(f"{driver} creates", help_out)
        return ended


class _Work(Generic[T]):
    """The steps of one command, and what became of them."""

    def __init__(self, steps: Sequence[Callable[[], T]]) -> None:
        self._steps = steps
        self._next = 0
        self._lock = threading.Lock()
        self._results: dict[int, T] = {}
        self._errors: dict[int, Exception] = {}

    @property
    def left(self) -> bool:
        """Whether there is a step to take."""
        return self._next < len(self._steps) and not self._errors

    def take(self) -> int | None:
        """The number of a step to carry out; None if there is none, or one has failed."""
        with self._lock:
            if not self.left:
                return None
            self._next += 1
            return self._next - 1

    def do(self, step: int) -> None:
        """Carry it out. An error is kept for `results`."""
        try:
            self._results[step] = self._steps[step]()
        except Exception as error:
            self._errors[step] = error

    def results(self) -> list[T]:
        """In the order of the steps. Raises the first error."""
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._results[step] for step in range(len(self._steps))]
