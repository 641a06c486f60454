"""Workers: a bounded number of tasks that carry out steps. Each keeps its own connections, so it is kept and reused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from runner.runtime.tasks import Signal, Tasks

log = logging.getLogger("orchestrator.tracker")


class Workers:
    """Up to `limit` tasks, started when they are needed. `wake` is called whenever one becomes free."""

    def __init__(self, name: str, limit: int, tasks: Tasks, wake: Callable[[], None]) -> None:
        self._name = name
        self._limit = limit
        self._tasks = tasks
        self._wake = wake
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._stopped = False

    def __repr__(self) -> str:
        return f"Workers({self._name}: {len(self._all) - len(self._idle)} of {self._limit} busy)"

    @property
    def free(self) -> bool:
        """Whether `run` may be called. Only one task asks and runs."""
        return bool(self._idle) or len(self._all) < self._limit

    def run(self, work: Callable[[], None]) -> None:
        """Carry this out beside the caller."""
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

    def _done(self, worker: _Worker) -> bool:
        with self._lock:
            if not self._stopped:
                self._idle.append(worker)
        self._wake()
        return not self._stopped


class _Worker:
    """One task."""

    def __init__(self, ready: Signal) -> None:
        self.ready = ready
        self.work: Callable[[], None] | None = None

    def loop(self, done: Callable[[_Worker], bool]) -> Callable[[], None]:
        def run() -> None:
            while True:
                self.ready.wait()
                self.ready.clear()
                work, self.work = self.work, None
                if work is None:
                    return
                try:
                    work()
                except Exception:
                    log.exception("a step failed: internal error")
                if not done(self):
                    return

        return run
