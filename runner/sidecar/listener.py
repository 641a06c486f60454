"""The listener of one worker: it accepts from the socket that all workers share, for one greenlet at a time."""

from __future__ import annotations

import socket

import gevent
from gevent.lock import Semaphore

from runner.runtime import concurrency


class SharedListener:
    """Accepts connections, each for one greenlet. The socket must not block."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._watcher = gevent.get_hub().loop.io(listener.fileno(), concurrency.READ)
        self._accepting = Semaphore()  # if all greenlets waited for the socket, each connection would wake them all
        self._open = True
        self._waiting: gevent.Greenlet | None = None

    def accept(self) -> socket.socket | None:
        """Wait for the next connection; None if the listener is closed."""
        with self._accepting:
            while self._listener.fileno() >= 0:
                if accepted := concurrency.accept(self._listener):
                    return accepted[0]
                if not self._open:
                    break
                self._wait()
            return None

    def close(self, *, now: bool) -> None:
        """Stop accepting: now, by closing the socket, or after the connections in its backlog are accepted.

        Use the latter only after the arbiter has removed the socket's file, so that no client can connect any more.
        """
        self._open = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._watcher.stop()
            gevent.get_hub().loop.run_callback(waiting.switch)
        if now:
            self._listener.close()

    def _wait(self) -> None:
        """Wait until the socket is readable or `close` is called. Unlike gevent's own waits, without a timer."""
        self._waiting = gevent.getcurrent()
        self._watcher.start(self._waiting.switch)
        try:
            gevent.get_hub().switch()
        finally:
            self._watcher.stop()
            self._waiting = None
