"""Workers: a bounded number of tasks that carry out steps. Each keeps its own connections, so it is kept and reused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from runner.runtime.tasks import Signal, Tasks

log = logging.getLogger("orchestrator.tracker")


Work = Callable[[], None]


class Workers:
    """Up to `limit` tasks, started when they are needed.

    A worker that has finished takes `more` work by itself: in a burst, passing each step through another task costs
    more than the step. `wake` is called after each piece of work, when the worker is free or has taken more.
    """

    def __init__(
        self, name: str, limit: int, tasks: Tasks, more: Callable[[], Work | None], wake: Callable[[], None]
    ) -> None:
        self._name = name
        self.limit = limit
        self._tasks = tasks
        self._more = more
        self._wake = wake
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._stopped = False

    def __repr__(self) -> str:
        return f"Workers({self._name}: {self.busy} of {self.limit} busy)"

    @property
    def busy(self) -> int:
        """How many work."""
        return len(self._all) - len(self._idle)

    def run(self, work: Work) -> None:
        """Carry this out beside the caller. Only one task may call it, and only if fewer than `limit` are busy."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker(self._tasks.signal())
            self._all.append(worker)
            self._tasks.start(f"{self._name} {len(self._all)}", worker.loop(self._done))
        worker.work = work
        worker.ready.set()

    def stop(self) -> None:
        """End the idle workers, and the others after their present work."""
        with self._lock:
            self._stopped, idle = True, self._idle
            self._idle = []
        for worker in idle:
            worker.ready.set()

    def _done(self, worker: _Worker) -> Work | None:
        """More work for the worker; None if there is none, and it is idle from now on."""
        work = None if self._stopped else self._more()
        if work is None:
            with self._lock:
                worker.ended = self._stopped
                if not self._stopped:
                    self._idle.append(worker)
        self._wake()
        return work


class _Worker:
    """One task."""

    def __init__(self, ready: Signal) -> None:
        self.ready = ready
        self.work: Work | None = None
        self.ended = False

    def loop(self, done: Callable[[_Worker], Work | None]) -> Callable[[], None]:
        def run() -> None:
            while not self.ended:
                self.ready.wait()
                self.ready.clear()
                work, self.work = self.work, None
                self.ended = work is None
                while work is not None:
                    try:
                        work()
                    except Exception:
                        log.exception("a step failed: internal error")
                    work = done(self)

        return run
