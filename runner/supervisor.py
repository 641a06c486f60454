"""The supervisor behind `up`: starts the processes of one host or pod, restarts those that exit, stops all in order.

    sidecar ─▶ tracker ─▶ protocols (http, grpc, amqp)        started from left to right, stopped from right to left

Signal handlers only enqueue. A child that exits because the configuration is wrong ends the supervisor, since a restart
would fail in the same way. Any other child that exits is restarted, after a pause that grows with each exit in a row.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from runner.config.loading import PATH_VARIABLE
from runner.config.section_variable import GRPC, HTTP, RABBITMQ, SectionVariable
from runner.config.types import Config
from runner.runtime import exit_codes
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.sidecar.client import SOCKET_VARIABLE

log = logging.getLogger("orchestrator.up")

HOME = Path(__file__).resolve().parent.parent
STOP_SECONDS = 35.0
"""For a child to finish its requests in flight; gunicorn gives its own workers 30."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds before a restart: doubled with each exit in a row, and short enough to be serving 5 s after a crash."""

STEADY_SECONDS = 30.0
"""After a child has run for so long, its next exit is the first in a row again."""

AMQP_PREFIX = "ORCHESTRATOR_AMQP_"
"""Prefix of the variables with the broker's URL and credentials, which only the RabbitMQ process gets."""

_PR_SET_PDEATHSIG = 1
_SECRETS = ("ORCHESTRATOR_PRIVATE_KEY", "ORCHESTRATOR_SENTRY_DSN")


class Child(msgspec.Struct, frozen=True):
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


def children(config: Config, path: Path, environ: Mapping[str, str]) -> tuple[Child, ...]:
    """The processes that the configuration names, in the order of their start."""
    broker = {name: value for name, value in environ.items() if name.startswith(AMQP_PREFIX)}
    others = {name: value for name, value in environ.items() if name not in broker}
    shared = {**others, PATH_VARIABLE: str(path), "PYTHONPATH": _module_path(environ.get("PYTHONPATH", ""))}
    edge = {name: value for name, value in shared.items() if name not in _SECRETS}
    edge[SOCKET_VARIABLE] = config.sidecar.socket
    python = (sys.executable, "-m")
    gunicorn = (*python, "gunicorn", "-c", str(HOME / "gunicorn.conf.py"), "functions.bundle:app")
    grpc = Child("grpc", (*python, "functions.grpc"), edge | _section_variable(GRPC, config))
    protocols = {
        "http": [Child("http", gunicorn, edge | _section_variable(HTTP, config))],
        # These processes share the port: the kernel distributes connections among them.
        "grpc": [structs.replace(grpc, name=f"grpc {number}") for number in range(1, config.grpc.workers + 1)],
        "amqp": [Child("amqp", (*python, "functions.amqp"), edge | broker | _section_variable(RABBITMQ, config))],
    }
    # Jobs of the memory and printer drivers exist only in the sidecar's process, where a tracker cannot list them.
    tracked = set(config.drivers()) - {"memory", "printer"}
    return (
        Child("sidecar", (*python, "runner", "serve"), shared),
        *([Child("tracker", (*python, "runner", "track"), shared)] if tracked else []),
        *(child for protocol in dict.fromkeys(config.protocols) for child in protocols[protocol]),
    )


def _module_path(inherited: str) -> str:
    """PYTHONPATH with this tree first. An empty one adds no entry: an empty entry means the working directory."""
    return os.pathsep.join([str(HOME), inherited] if inherited else [str(HOME)])


def _section_variable(section: SectionVariable[Any], config: Config) -> dict[str, str]:
    return {section.variable: section.encode(config)}


class Running:
    """A child with its process and its exits."""

    def __init__(self, child: Child, clock: Clock) -> None:
        self.child = child
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)  # no jitter: there is one supervisor
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.exits = 0
        self.due = 0.0

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
        self.started = self._clock.monotonic()

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


class Supervisor:
    """Runs until SIGINT or SIGTERM, then ends with 0, or with the exit code of a child that cannot run at all."""

    def __init__(self, wanted: Sequence[Child], clock: Clock) -> None:
        self._clock = clock
        self._running = [Running(child, clock) for child in wanted]
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return f"Supervisor({self._running})"

    def run(self) -> int:
        """Start all children, supervise them, stop them. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self._signals.put(received))
        for running in self._running:
            running.start()
        code = self._watch()
        self._stop()
        return code

    def _watch(self) -> int:
        while True:
            try:
                received = self._signals.get(timeout=0.2)
            except queue.Empty:
                received = 0
            if received in (signal.SIGINT, signal.SIGTERM):
                return 0
            if received == signal.SIGHUP:
                self._reread()
            if (code := self._restart_children()) is not None:
                return code

    def _restart_children(self) -> int | None:
        """Start the children that are due. The exit code to end with if a child refuses the configuration."""
        for running in self._running:
            if running.process is None:
                if self._clock.monotonic() >= running.due:
                    running.start()
                continue
            code = running.process.poll()
            if code == exit_codes.CONFIGURATION:
                return code
            if code is not None:
                running.record_exit(code)
        return None

    def _reread(self) -> None:
        """Have the sidecar reread the configuration; the functions get the new request policy from it in seconds."""
        for running in self._running:
            if running.child.name == "sidecar" and running.process:
                running.process.send_signal(signal.SIGHUP)

    def _stop(self) -> None:
        """Stop the protocols first, so that their requests in flight still reach the sidecar."""
        log.info("stopping; requests in flight are finished first")
        for running in reversed(self._running):
            process = running.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.error("%s did not end within %.0f s and is killed", running.child.name, STOP_SECONDS)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Have the kernel send SIGTERM to the child when the supervisor is killed (prctl(2)), so that none is orphaned."""
    libc = ctypes.CDLL(None)

    def after_fork() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the supervisor was killed before the call above
            os._exit(1)

    return after_fork
