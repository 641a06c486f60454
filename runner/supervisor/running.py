"""One child of the supervisor: its process, its exits, its end, and whether it still makes progress."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
from collections.abc import Callable

from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.supervisor.layout import Child

log = logging.getLogger("orchestrator.up")

STOP_SECONDS = 35.0
"""For a child to finish its requests in flight; gunicorn gives its own workers 30."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds before a restart: doubled with each exit in a row, and short enough to be serving 5 s after a crash."""

STEADY_SECONDS = 30.0
"""After a child has run for so long, its next exit is the first in a row again."""

LONGEST_STEP = 1.0
"""Seconds of silence that one check adds at most. While this process itself is stopped, no child is silent."""

_PR_SET_PDEATHSIG = 1


class Running:
    """A child with its process and its exits."""

    def __init__(self, child: Child, clock: Clock) -> None:
        self.child = child
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)  # no jitter: there is one supervisor
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.starts = 0
        self.exits = 0
        self.due = 0.0
        self.wanted = True
        """Whether it is to be started again after its end."""
        self._kill_at: float | None = None  # while it is being stopped
        self._renewed: int | None = None  # the health file's time of modification
        self._silent = 0.0
        self._checked = 0.0

    def __repr__(self) -> str:
        pid = self.process.pid if self.process else "-"
        return f"Running({self.child.name}, pid={pid}, exits={self.exits})"

    def start(self) -> None:
        """Start the child in its own session: Ctrl-C signals only the supervisor, and the kernel stops its children."""
        self.process = subprocess.Popen(
            self.child.command,
            env=dict(self.child.environment),
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  (this process has one thread)
        )
        self.started = self._checked = self._clock.monotonic()
        self.starts += 1
        self._kill_at = None
        self._renewed, self._silent = self._health(), 0.0

    def check(self) -> int | None:
        """Start it if it is due, kill it if it is silent or overdue. Returns the code of an unexpected exit."""
        if self.process is None:
            if self.wanted and self._clock.monotonic() >= self.due:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            self._kill_if_overdue()
            self._kill_if_silent()
            return None
        if self._kill_at is not None:
            self.process, self._kill_at, self.due = None, None, self._clock.monotonic()
            return None
        return code

    def record_exit(self, code: int) -> None:
        """Record that it exited, and when to start it again."""
        if self._clock.monotonic() - self.started > STEADY_SECONDS:
            self.exits = 0
            self._backoff.reset()
        self.exits += 1
        pause = self._backoff.next()
        self.due = self._clock.monotonic() + pause
        self.process = None
        log.error("%s ended with %s; starting it again in %.1f s", self.child.name, code, pause)

    def reload(self, child: Child) -> None:
        """Run it as this child from now on. It is restarted, or rereads its configuration, if that is necessary."""
        before, self.child, self.wanted = self.child, child, True
        if self.process is None or self._kill_at is not None:
            return  # the next start uses the new command and configuration
        if child != before or child.on_reload == "replace":
            self.end()
        elif child.on_reload == "signal":
            self.process.send_signal(signal.SIGHUP)

    def remove(self) -> None:
        """End it for good."""
        self.wanted = False
        self.end()

    def end(self) -> None:
        """Send SIGTERM. `check` sees its end, or kills it after STOP_SECONDS."""
        if self.process is not None and self._kill_at is None:
            log.info("stopping %s", self.child.name)
            self._kill_at = self._clock.monotonic() + STOP_SECONDS
            self.process.terminate()

    def await_end(self) -> None:
        """End it, and wait until it has."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()

    def _kill_if_overdue(self) -> None:
        if self._kill_at is not None and self._clock.monotonic() >= self._kill_at:
            self._kill()

    def _kill(self) -> None:
        assert self.process is not None
        log.error("%s did not end within %.0f s and is killed", self.child.name, STOP_SECONDS)
        os.killpg(self.process.pid, signal.SIGKILL)

    def _kill_if_silent(self) -> None:
        """Kill it if its health file does not change. The time is this process's own: the file's may jump."""
        now, renewed = self._clock.monotonic(), self._health()
        step, self._checked = min(now - self._checked, LONGEST_STEP), now
        changed, self._renewed = renewed != self._renewed, renewed
        self._silent = 0.0 if changed or self.child.health is None else self._silent + step
        if self._silent > self.child.silence and self.process is not None:
            log.error("%s made no progress for %.0f s and is killed", self.child.name, self.child.silence)
            self._silent = 0.0
            self.process.kill()  # a stopped process (SIGSTOP) as well

    def _health(self) -> int | None:
        try:
            return self.child.health.stat().st_mtime_ns if self.child.health else None
        except OSError:
            return None


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Have the kernel send SIGTERM to the child when the supervisor is killed (prctl(2)), so that none is orphaned."""
    libc = ctypes.CDLL(None)

    def after_fork() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the supervisor was killed before the call above
            os._exit(1)

    return after_fork
