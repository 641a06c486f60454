"""The pool: gunicorn's arbiter over the sidecar's socket, with a worker class that speaks frames.

gunicorn's arbiter supervises pre-forked workers: it replaces dead ones, rereads the configuration on SIGHUP, and on
SIGTERM removes the socket and waits for the commands in flight. The worker here adds the rest.

How load is spread and bounded: a worker has one greenlet for each command that may be in flight (`sidecar.threads`;
`runner.runtime.concurrency` says why not threads). All workers share one socket. A worker with a free greenlet accepts
from it, one connection at a time. When no greenlet is free, connections wait in the socket's backlog, whose length is
`sidecar.queue`. One more connection fails at once on the client's side, as `busy`.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from runner.config.types import Config
from runner.errors import OrchestratorError, Unavailable
from runner.runtime import concurrency, exit_codes, logs, trial
from runner.runtime.clock import Clock, Deadline
from runner.runtime.struct_types import learn_struct_types
from runner.sidecar import frames
from runner.sidecar.client import peer, receive_frame, refuse_stranger
from runner.sidecar.listener import SharedListener
from runner.sidecar.server import Sidecar

log = logging.getLogger("orchestrator.pool")

EXCHANGE_SECONDS = 5.0
"""For a client to send its frame after connecting, and again to receive its reply; both sides are on this host."""

_BUILD_PAUSE = 1.0
"""Seconds until the next attempt, if a worker could not be built because of a temporary failure."""

_TRIAL_SECONDS = 10
"""For a trial process to build a worker with a new configuration."""

_GARBAGE_THRESHOLDS = (50_000, 20, 100)
"""A command leaves almost no reference cycles: collect seldom."""


class PoolWorker(Worker):  # type: ignore[misc]
    """One process of the pool: one greenlet for each command in flight."""

    alive: bool

    def load_wsgi(self) -> None:
        """Build the sidecar, and so open its connections, after the fork. There is no WSGI application."""
        # Objects from before the fork are never freed: do not traverse them, which would copy the shared pages.
        gc.freeze()
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        self._clock: Clock = self.app.clock
        try:
            concurrency.cooperate(self.cfg.threads)
            self.sidecar: Sidecar = self.app.build()
        except (OSError, Unavailable) as error:
            # A full disk or an unreachable cluster is temporary. For any other failure here the arbiter ends the pool.
            log.error("a worker cannot be built at the moment: %s; trying again in %.0f s", error, _BUILD_PAUSE)
            self._clock.sleep(_BUILD_PAUSE)
            sys.exit(exit_codes.LATER)
        learn_struct_types()

    def run(self) -> None:
        """Serve until SIGTERM or until the arbiter has ended; then finish the commands in flight."""
        listener = self.sockets[0].sock
        bound = _identity(listener.getsockname())
        listener.setblocking(False)
        self._listener = SharedListener(listener)
        commands = [gevent.spawn(self._serve) for _ in range(self.cfg.threads)]
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            with suppress(TimeoutError):
                concurrency.until_ready(self.PIPE[0], concurrency.READ, 1.0)
                os.read(self.PIPE[0], 4096)  # one byte for each signal; unread, they would end every later wait at once
        self.alive = False
        # If the arbiter was killed, clients in the backlog must be refused, since no worker would accept them. If this
        # worker is being replaced, the socket stays in use, and the other workers accept them.
        self._listener.close(now=os.getppid() != self.ppid or _identity(listener.getsockname()) == bound)
        self._finish(commands)
        self.sidecar.close()

    def _finish(self, commands: list[gevent.Greenlet]) -> None:
        deadline = Deadline.after(self.cfg.graceful_timeout, self._clock)
        while deadline.left > 0 and len(gevent.joinall(commands, timeout=0.2)) < len(commands):
            self.notify()

    def _serve(self) -> None:
        """Answer one connection after another."""
        while connection := self._listener.accept():
            with connection:
                self._exchange(connection)

    def _exchange(self, connection: socket.socket) -> None:
        deadline = Deadline.after(EXCHANGE_SECONDS, self._clock)
        try:
            refuse_stranger(connection)
            body = receive_frame(connection, deadline)
            reply = frames.encode(self.sidecar.answer(body))
            concurrency.send(connection, reply, Deadline.after(EXCHANGE_SECONDS, self._clock))
        except (OSError, OrchestratorError) as error:
            log.warning("a client was not answered; it disconnected, is too slow, or is another user's: %s", error)
        except Exception:
            log.exception("a command was not answered: internal error")


class Pool(BaseApplication):  # type: ignore[misc]
    """The sidecar as a gunicorn application. `load` reads the configuration, at the start and on SIGHUP."""

    def __init__(
        self,
        load: Callable[[], Config],
        build: Callable[[Config], Sidecar],
        preload: Callable[[Config], None],
        clock: Clock,
    ) -> None:
        self.clock = clock
        self._load = load
        self._build = build
        self._preload = preload
        self._config = load()
        super().__init__()

    def build(self) -> Sidecar:
        """The sidecar of one worker."""
        return self._build(self._config)

    def load_config(self) -> None:
        """Set gunicorn's settings from the configuration."""
        sidecar = self._config.sidecar
        settings: dict[str, Any] = {
            "bind": f"unix:{sidecar.socket}",
            "umask": 0o177,  # the socket is 0600
            "backlog": sidecar.queue - 1,  # the kernel queues one more (unix(7) does not say so)
            "workers": sidecar.workers,
            "threads": sidecar.threads,
            "worker_class": PoolWorker,
            "timeout": 60,
            "graceful_timeout": 30,
            "control_socket_disable": True,
            "proc_name": "orchestrator-runner",
            "logconfig_dict": logs.settings(self._config.logs.level),
            "on_reload": _resize_queue,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)
        self._preload(self._config)

    def load(self) -> None:
        """Do nothing: there is no WSGI application."""

    def reload(self) -> None:
        """On SIGHUP. A configuration that no worker can be built with is reported, and the current one stays in use."""
        try:
            config = self._load()
        except OrchestratorError as error:
            log.error("the configuration was not reread: %s", error.detail)
            return
        if config.sidecar.socket != self._config.sidecar.socket:
            log.error(
                "the configuration was not reread: another sidecar.socket needs a restart of runner and functions"
            )
        elif not self._can_build(config):
            log.error("the configuration was not reread: no worker could be built with it; the error is logged above")
        else:
            self._config = config
            self.load_config()

    def _can_build(self, config: Config) -> bool:
        """Build a sidecar in a trial process, since connections must not be opened in the arbiter, before a fork."""

        def build() -> None:
            self._preload(config)
            self._build(config)

        return trial.succeeds(build, _TRIAL_SECONDS)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        claim(Path(self._config.sidecar.socket))
        try:
            Arbiter(self).run()
        except RuntimeError as error:
            sys.exit(f"the pool could not start: {error}")


def _resize_queue(arbiter: Arbiter) -> None:
    """Calling listen(2) again changes the length of the backlog."""
    for listener in arbiter.LISTENERS:
        listener.listen(arbiter.cfg.backlog)


def _identity(path: str) -> tuple[int, int] | None:
    """The device and inode of the file at `path` now; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def claim(path: Path) -> None:
    """Make sure that the socket can be bound to `path`: its directory exists, and no other runner listens there.

    A socket file without a listener was left by a crash and is ignored. So is one whose only listeners are the workers
    of a killed arbiter, which are finishing their commands in flight. Raises Unavailable if a runner listens there, or
    if the path cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(f"user {os.geteuid()} may not write to {path.parent}")
        if path.exists() and not path.is_socket():
            raise FileExistsError("the file is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            listening, _ = peer(probe)
            os.kill(listening, 0)
    except (FileNotFoundError, ConnectionRefusedError, ProcessLookupError):
        return
    except OSError as error:
        raise Unavailable(
            f"the socket {path} cannot be used: {error}; set sidecar.socket to a path that this user may write to, like"
            " that of $XDG_RUNTIME_DIR/orchestrator.sock"
        ) from error
    raise Unavailable(f"another runner already serves {path}; stop it, or set sidecar.socket to another path")
