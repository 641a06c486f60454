"""runner.sidecar.parallel: the jobs of one command are created at the same time, in bounds, whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import gevent
import pytest

from runner.errors import Busy, Conflict, OrchestratorError, Timeout
from runner.runtime.clock import Deadline, SystemClock
from runner.runtime.tasks import Greenlets, Tasks, Threads
from runner.sidecar.parallel import HELPERS, Parallel
from tests.harness.clock import ManualClock

SOON = Deadline.after(20, SystemClock())
TASKS = [Threads(), Greenlets()]


class Crowd:
    """Steps that wait until so many of them run at once."""

    def __init__(self, size: int, pause: Callable[[], None]) -> None:
        self._size = size
        self._pause = pause
        self.running = self.most = self.done = 0
        self._lock = threading.Lock()

    def step(self, number: int) -> Callable[[], int]:
        def run() -> int:
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            while self.most < self._size:
                self._pause()
            with self._lock:
                self.running -= 1
                self.done += 1
            return number

        return run


def pause_of(tasks: Tasks) -> Callable[[], None]:
    return (lambda: gevent.sleep(0)) if isinstance(tasks, Greenlets) else threading.Event().is_set  # type: ignore[return-value]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("tasks", TASKS, ids=repr)
class TestCrowd:
    def test_as_many_steps_run_at_once_as_there_are_helpers_and_one(self, tasks: Tasks) -> None:
        crowd = Crowd(8, pause_of(tasks))
        parallel = Parallel(tasks, {"kubernetes": 7})
        assert parallel.run("kubernetes", [crowd.step(number) for number in range(256)], SOON) == list(range(256))
        assert (crowd.most, crowd.done) == (8, 256)

    def test_helpers_come_back_for_the_next_command(self, tasks: Tasks) -> None:
        parallel = Parallel(tasks, {"kubernetes": 7})
        for _ in range(3):
            crowd = Crowd(8, pause_of(tasks))
            parallel.run("kubernetes", [crowd.step(number) for number in range(20)], SOON)
            assert crowd.most == 8

    def test_another_driver_s_steps_run_one_after_another(self, tasks: Tasks) -> None:
        crowd = Crowd(1, pause_of(tasks))
        assert Parallel(tasks).run("printer", [crowd.step(number) for number in range(20)], SOON) == list(range(20))
        assert crowd.most == 1

    def test_no_step_is_started_after_one_has_failed(self, tasks: Tasks) -> None:
        started: list[int] = []

        def step(number: int) -> None:
            started.append(number)
            if number == 2:
                raise Busy("over quota")

        with pytest.raises(Busy):
            Parallel(tasks, {}).run("kubernetes", [partial(step, number) for number in range(256)], SOON)
        assert started == [0, 1, 2]

    def test_those_that_are_running_end_first_and_the_first_of_their_errors_is_raised(self, tasks: Tasks) -> None:
        crowd = Crowd(4, pause_of(tasks))

        def step(number: int) -> None:
            crowd.step(number)()
            if number in (1, 2):
                raise Conflict("step 1") if number == 1 else Busy("step 2")

        with pytest.raises(Conflict, match="step 1"):
            Parallel(tasks, {"kubernetes": 3}).run("kubernetes", [partial(step, number) for number in range(4)], SOON)
        assert (crowd.running, crowd.done) == (0, 4)

    def test_what_a_failure_has_left_is_completed_by_a_repeat(self, tasks: Tasks) -> None:
        made: set[int] = set()
        broken = {100}

        def step(number: int) -> Callable[[], str]:
            def run() -> str:
                if number in broken:
                    raise Busy("over quota")
                state = "exists" if number in made else "created"
                made.add(number)
                return state

            return run

        parallel, steps = Parallel(tasks, {"nomad": 7}), [step(number) for number in range(256)]
        with pytest.raises(Busy):
            parallel.run("nomad", steps, SOON)
        before = len(made)
        broken.clear()
        states = parallel.run("nomad", steps, SOON)
        assert len(made) == 256
        assert states.count("exists") == before


def test_a_helper_that_does_not_end_stops_the_command_soon_after_its_deadline() -> None:
    stuck, clock = threading.Event(), ManualClock()
    own = threading.get_ident()

    def step() -> None:
        if threading.get_ident() != own:
            stuck.wait(30)

    try:
        with pytest.raises(Timeout):
            Parallel(Threads(), {"kubernetes": 1}).run("kubernetes", [step] * 5, Deadline(clock.monotonic(), clock))
    finally:
        stuck.set()


def test_an_internal_error_is_raised_as_it_is() -> None:
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Parallel(Threads()).run("kubernetes", [broken, broken], SOON)
    assert not issubclass(KeyError, OrchestratorError)


def test_the_bounds_are_those_that_the_documentation_names() -> None:
    assert HELPERS == {"kubernetes": 31, "nomad": 31, "local": 3}
