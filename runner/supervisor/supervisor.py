"""The supervisor: signals, reload, and one check of every child five times a second.

Signal handlers only enqueue. A child that refuses the configuration at its first start ends the supervisor, since a
restart would fail in the same way. Any other child that exits is restarted, after a pause that grows with each exit in
a row. A child that makes no progress is killed and restarted.

A reload validates the whole configuration before it touches a process. Then it starts what was added, stops what was
dropped, and restarts what has changed; the sidecar rereads the configuration without a failed command.
"""

from __future__ import annotations

import logging
import queue
import signal
from collections.abc import Callable, Sequence

from runner.errors import OrchestratorError
from runner.runtime import exit_codes
from runner.runtime.clock import Clock
from runner.supervisor.layout import Child
from runner.supervisor.running import Running

log = logging.getLogger("orchestrator.up")

CHECK_SECONDS = 0.2


class Supervisor:
    """Runs until SIGINT or SIGTERM, then ends with 0, or with the exit code of a child that cannot run at all.

    `reread` gives the children of the configuration as it is now. It raises OrchestratorError if that cannot run.
    """

    def __init__(self, wanted: Sequence[Child], reread: Callable[[], Sequence[Child]], clock: Clock) -> None:
        self._clock = clock
        self._reread = reread
        self._running = [Running(child, clock) for child in wanted]
        self._reloaded = False
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return f"Supervisor({self._running})"

    def run(self) -> int:
        """Start all children, supervise them, stop them. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self._signals.put(received))
        code = self._watch()
        self.stop()
        return code

    def _watch(self) -> int:
        while True:
            if (code := self.check()) is not None:
                return code
            try:
                received = self._signals.get(timeout=CHECK_SECONDS)
            except queue.Empty:
                continue
            if received != signal.SIGHUP:
                return 0
            self.reload()

    def check(self) -> int | None:
        """Start, replace and forget children as necessary. The code to end with if one cannot run at all."""
        for running in self._running:
            code = running.check()
            # After the first start, what runs goes on, also if the file has become invalid since.
            if code == exit_codes.CONFIGURATION and running.starts == 1 and not self._reloaded:
                return code
            if code is not None:
                running.record_exit(code)
        self._running = [running for running in self._running if running.wanted or running.process]
        return None

    def reload(self) -> None:
        """Run what the configuration names now. If it is invalid, log the reasons and change nothing."""
        try:
            wanted = self._reread()
        except OrchestratorError as error:
            reasons = "; ".join(f"{problem.pointer} {problem.message}" for problem in error.problems) or error.detail
            log.error("the configuration was not reread: %s; everything runs on unchanged", reasons)
            return
        log.info("the configuration was reread")
        self._reloaded = True
        known = {running.child.name: running for running in self._running}
        kept = []
        for child in wanted:
            running = known.pop(child.name, None) or Running(child, self._clock)
            running.reload(child)
            kept.append(running)
        for running in known.values():
            running.remove()
        self._running = [*kept, *known.values()]

    def stop(self) -> None:
        """Stop the protocols first, so that their requests in flight still reach the sidecar."""
        log.info("stopping; requests in flight are finished first")
        for running in reversed(self._running):
            running.await_end()
