"""The pool: gunicorn's arbiter over the sidecar's socket, with a worker class that speaks frames.

gunicorn has supervised pre-forked workers for years: it replaces the dead, rereads the configuration on SIGHUP, and on
SIGTERM removes the socket and waits for what is in hand. The worker here adds the rest.

How load is spread and bounded: a worker has a greenlet for each command that may be in flight (`sidecar.threads`;
`runner.runtime.concurrency` says why not threads). A free one waits for the socket that all workers share,
and whichever worker runs first takes the next connection, and one only. When all are occupied, connections queue in
the socket's backlog, which is as long as `sidecar.queue` says. A connection over that fails at once on the client's
side, as `busy`.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import Semaphore
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from runner.config.types import Config
from runner.errors import OrchestratorError, Unavailable
from runner.runtime import concurrency, exit_codes, logs
from runner.runtime.clock import Clock, Deadline
from runner.runtime.struct_types import learn_struct_types
from runner.sidecar import frames
from runner.sidecar.client import peer, receive_frame, refuse_stranger
from runner.sidecar.server import Sidecar

log = logging.getLogger("orchestrator.pool")

EXCHANGE_SECONDS = 5.0
"""For a client to send its frame after connecting, and to take its reply; both sides are on this host."""

_BUILD_PAUSE = 1.0
"""Seconds until the next attempt, where a worker could not be built for a reason that may pass."""

_TRIAL_SECONDS = 10
"""For a new configuration to prove itself."""

_GARBAGE_THRESHOLDS = (50_000, 20, 100)


class PoolWorker(Worker):  # type: ignore[misc]
    """One process of the pool: a greenlet for each command in hand."""

    alive: bool

    def load_wsgi(self) -> None:
        """There is no WSGI here; connections are opened now that we are forked."""
        # A command leaves no cycles behind, and what was loaded before the fork stays for good: look for garbage
        # seldom, and not among the pages that all workers share.
        gc.freeze()
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        self._clock: Clock = self.app.clock
        try:
            concurrency.cooperate(self.cfg.threads)
            self.sidecar: Sidecar = self.app.build()
        except (OSError, Unavailable) as error:
            # A full disk or an absent cluster is no reason to give up, as the arbiter does for any other failure here.
            log.error("a worker cannot be built at the moment: %s", error)
            self._clock.sleep(_BUILD_PAUSE)
            sys.exit(exit_codes.LATER)
        learn_struct_types()

    def run(self) -> None:
        """Serve until told to stop, or until the arbiter is gone; then finish what is in hand."""
        listener = self.sockets[0].sock
        bound = _identity(listener.getsockname())
        listener.setblocking(False)
        self._door = _Door(listener)
        commands = [gevent.spawn(self._serve) for _ in range(self.cfg.threads)]
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            with suppress(TimeoutError):
                concurrency.until_ready(self.PIPE[0], concurrency.READ, 1.0)
                os.read(self.PIPE[0], 4096)  # a byte for each signal: left there, it would wake us for ever
        self.alive = False
        # Where the arbiter was killed, who waits is to be refused, not to wait for nobody. And where we are being
        # replaced, the socket goes on, and who waits is for others.
        self._door.close(now=os.getppid() != self.ppid or _identity(listener.getsockname()) == bound)
        self._finish(commands)

    def _finish(self, commands: list[gevent.Greenlet]) -> None:
        deadline = Deadline.after(self.cfg.graceful_timeout, self._clock)
        while deadline.left > 0 and len(gevent.joinall(commands, timeout=0.2)) < len(commands):
            self.notify()

    def _serve(self) -> None:
        """Answer one connection after the other."""
        while connection := self._door.next():
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
            log.warning("a function went away or is none of ours: %s", error)
        except Exception:
            log.exception("a command was not answered for a reason of ours")


class _Door:
    """Where connections come in, each to one greenlet."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._watcher = gevent.get_hub().loop.io(listener.fileno(), 1)
        self._turn = Semaphore()  # if all waited for the socket, each connection would wake them all
        self._open = True
        self._waiting: gevent.Greenlet | None = None

    def next(self) -> socket.socket | None:
        """The next connection, once there is one; None for no more."""
        with self._turn:
            while self._listener.fileno() >= 0:
                if accepted := concurrency.accept(self._listener):
                    return accepted[0]
                if not self._open:
                    break
                self._wait()
            return None

    def close(self, *, now: bool) -> None:
        """Let nobody in any more, or only who waits already. Where the arbiter has closed the socket, these are all."""
        self._open = False
        waiter, self._waiting = self._waiting, None
        if waiter is not None:
            self._watcher.stop()
            gevent.get_hub().loop.run_callback(waiter.switch)
        if now:
            self._listener.close()

    def _wait(self) -> None:
        """Until somebody comes, or the door is closed. Unlike gevent's own waits, with no timer for each."""
        self._waiting = gevent.getcurrent()
        self._watcher.start(self._waiting.switch)
        try:
            gevent.get_hub().switch()
        finally:
            self._watcher.stop()
            self._waiting = None


class Pool(BaseApplication):  # type: ignore[misc]
    """The sidecar as an application of gunicorn's. `load` rereads the configuration."""

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
        """What a worker answers with."""
        return self._build(self._config)

    def load_config(self) -> None:
        """Our configuration in gunicorn's words."""
        sidecar = self._config.sidecar
        settings: dict[str, Any] = {
            "bind": f"unix:{sidecar.socket}",
            "umask": 0o177,  # the socket is 0600
            "backlog": sidecar.queue - 1,  # the kernel lets one more wait (unix(7) does not say so)
            "workers": sidecar.workers,
            "threads": sidecar.threads,
            "worker_class": PoolWorker,
            "timeout": 60,
            "graceful_timeout": 30,
            "control_socket_disable": True,
            "proc_name": "orchestrator-runner",
            "logconfig_dict": logs.settings(),
            "on_reload": _resize_queue,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)
        self._preload(self._config)

    def load(self) -> None:
        """Nothing: there is no WSGI application."""

    def reload(self) -> None:
        """On SIGHUP. A configuration that could not be served with is reported, and the one in force stays."""
        try:
            config = self._load()
        except OrchestratorError as error:
            log.error("the configuration was not reread: %s", error.detail)
            return
        if config.sidecar.socket != self._config.sidecar.socket:
            log.error("the configuration was not reread: another sidecar.socket needs a restart, of the functions too")
        elif not self._serves_with(config):
            log.error("the configuration was not reread: no worker could be built with it")
        else:
            self._config = config
            self.load_config()

    def _serves_with(self, config: Config) -> bool:
        """Build what a worker would, in a process that is thrown away: connections belong after the fork."""
        trial = os.fork()
        if trial == 0:
            signal.alarm(_TRIAL_SECONDS)
            try:
                self._preload(config)
                self._build(config)
            except Exception:
                log.exception("a worker could not be built")
                os._exit(exit_codes.CONFIGURATION)
            os._exit(0)
        return os.waitpid(trial, 0)[1] == 0

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        claim(Path(self._config.sidecar.socket))
        try:
            Arbiter(self).run()
        except RuntimeError as error:
            sys.exit(f"the pool could not start: {error}")


def _resize_queue(arbiter: Arbiter) -> None:
    """listen(2) once more changes the length of the backlog."""
    for listener in arbiter.LISTENERS:
        listener.listen(arbiter.cfg.backlog)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file a path leads to at the moment."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def claim(path: Path) -> None:
    """Make sure the socket's path is ours to bind: its directory exists, and no other runner listens there.

    A socket file that nobody listens on any more is left by a crash, and doesn't matter; nor does one on which only
    the workers of a killed arbiter listen, which have yet to finish what they have in hand. Raises Unavailable where
    a runner answers, or the path cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and not path.is_socket():
            raise FileExistsError("it is something else than a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            listening, _ = peer(probe)
            os.kill(listening, 0)
    except (FileNotFoundError, ConnectionRefusedError, ProcessLookupError):
        return
    except OSError as error:
        raise Unavailable(f"the socket {path} cannot be used: {error}; set sidecar.socket to another") from error
    raise Unavailable(f"another runner already serves {path}; stop it, or set sidecar.socket to another path")
