"""Virtual time, and the order of all steps, decided by one seed.

An actor is a greenlet. It runs from one blocking point to the next without interruption; the blocking points are the
seams of the real code (sleep, wait for a signal, send a request). A callback is a step of the world itself. Whenever
several steps are possible, the seed decides which is next; time passes only when none is.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

EPOCH = 1_700_000_000.0
"""Virtual time 0, as seconds since the epoch."""

MOST_STEPS = 20_000
"""Steps without any passing of time, after which a run counts as a runaway."""

TAIL = 60
"""Lines of the trace that an error shows."""


class Stuck(AssertionError):
    """The run cannot go on: a deadlock, a runaway, or an exception in an actor."""


class Ticket:
    """One wait of one greenlet. The first of wake-up and timeout ends it."""

    __slots__ = ("_scheduler", "_waiting", "label", "value")

    def __init__(self, scheduler: Scheduler, label: str) -> None:
        self._scheduler = scheduler
        self._waiting: greenlet | None = getcurrent()
        self.label = label
        self.value: Any = None

    @property
    def done(self) -> bool:
        return self._waiting is None

    def wake(self, value: Any = None) -> None:
        """Let the waiting greenlet go on, with that value. Has no effect after the first time."""
        if (waiting := self._waiting) is not None and not waiting.dead:
            self._waiting = None
            self.value = value
            self._scheduler.make_ready(self.label, waiting.switch)


class Process:
    """A process of ours, or another group of actors that can be killed together."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self.name = name
        self.alive = True
        self._greenlets: list[greenlet] = []

    def __repr__(self) -> str:
        return self.name

    def start(self, name: str, run: Callable[[], object]) -> None:
        """Add an actor."""
        self.check()

        def contained() -> None:
            try:
                run()
            except GreenletExit:
                pass
            except Exception as error:
                self._scheduler.fail(f"{self.name}/{name}", error)

        actor = greenlet(contained, self._scheduler.hub)
        self._greenlets = [each for each in self._greenlets if not each.dead]
        self._greenlets.append(actor)
        self._scheduler.make_ready(f"{self.name}/{name}", actor.switch)

    def check(self) -> None:
        """Raises GreenletExit once the process is dead, so that no `finally` of it still acts on the world."""
        if not self.alive:
            raise GreenletExit

    def kill(self) -> None:
        """Kill it, as SIGKILL does. Nothing of it runs any more; what it has sent is still on its way."""
        self.alive = False
        self._scheduler.note(f"kill {self.name}")
        for actor in self._greenlets:
            if not actor.dead:
                self._scheduler.make_ready(f"{self.name} ends", _Killing(actor))
        self._greenlets = []


class _Killing:
    """The last step of an actor."""

    def __init__(self, actor: greenlet) -> None:
        self._actor = actor

    def __call__(self) -> None:
        if not self._actor.dead:
            self._actor.throw(GreenletExit)


class Scheduler:
    """Runs one step after the other."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.steps = 0
        self.hub = getcurrent()
        self.keep_trace = False
        self.lines: list[str] = []
        self._ready: list[tuple[str, Callable[[], object]]] = []
        self._timers: list[tuple[float, int, str, Callable[[], object]]] = []
        self._numbers = 0
        self._recent: deque[str] = deque(maxlen=TAIL)
        self._digest = hashlib.blake2b(digest_size=8)
        self._failure: tuple[str, Exception] | None = None

    @property
    def trace_hash(self) -> str:
        """The same for two runs only if they took the same steps at the same times."""
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now:12.6f} {text}"
        self._digest.update(line.encode())
        self._recent.append(line)
        if self.keep_trace:
            self.lines.append(line)

    def make_ready(self, label: str, step: Callable[[], object]) -> None:
        """The step is possible from now on."""
        self._ready.append((label, step))

    def after(self, seconds: float, label: str, step: Callable[[], object]) -> None:
        """The step is possible in so many seconds."""
        self._numbers += 1
        heapq.heappush(self._timers, (self.now + max(seconds, 0.0), self._numbers, label, step))

    def wait(self, ticket: Ticket, seconds: float | None) -> Any:
        """Wait in the current greenlet until the ticket is woken, at most so long. Returns its value."""
        if seconds is not None:
            self.after(seconds, ticket.label, _Timeout(ticket))
        self.hub.switch()
        return ticket.value

    def pause(self, seconds: float, label: str) -> None:
        """Wait in the current greenlet."""
        self.wait(Ticket(self, label), seconds)

    def fail(self, label: str, error: Exception) -> None:
        """An actor ended with an exception, which ends the run."""
        if self._failure is None:
            self._failure = (label, error)

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Run until the condition holds. False if it does not hold at time `limit`. Raises Stuck."""
        still = 0
        while not until():
            if self._ready:
                still += 1
                if still > MOST_STEPS:
                    raise Stuck(self._described(f"{MOST_STEPS} steps and no time has passed"))
                self._step()
            elif self._timers:
                if self._timers[0][0] > limit:
                    return False
                still = still if self._advance() else 0
            else:
                raise Stuck(self._described("nobody can take a step"))
        return True

    def run_for(self, seconds: float) -> None:
        """Run for so long."""
        end = self.now + seconds
        self.after(seconds, "time passes", lambda: None)
        self.run(lambda: self.now >= end, end)
        self.now = max(self.now, end)

    @property
    def busy(self) -> bool:
        """Whether a step is possible now."""
        return bool(self._ready)

    def _advance(self) -> bool:
        """Move time to the next timer. Returns whether time stands still."""
        before, self.now = self.now, max(self.now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now:
            _, _, label, step = heapq.heappop(self._timers)
            if not (isinstance(step, _Timeout) and step.over):
                self._ready.append((label, step))
        return before == self.now

    def _step(self) -> None:
        ready = self._ready
        number = self.random.randrange(len(ready)) if len(ready) > 1 else 0
        label, step = ready[number]
        ready[number] = ready[-1]
        ready.pop()
        self.steps += 1
        self.note(label)
        step()
        if self._failure:
            label, error = self._failure
            self._failure = None
            raise Stuck(self._described(f"{label} ended with {type(error).__name__}: {error}")) from error

    def _described(self, what: str) -> str:
        return "\n".join([f"{what} at {self.now:.3f} s, after {self.steps} steps:", *self._recent])


class _Timeout:
    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    @property
    def over(self) -> bool:
        """Whether the wait has ended before."""
        return self._ticket.done

    def __call__(self) -> None:
        self._ticket.wake(None)
