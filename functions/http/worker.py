"""The gunicorn worker of the HTTP server: gunicorn's `gevent` worker, with what no setting of it does.

- A deadline for the first byte and for the head, apart from keep-alive, and for a client to receive its answer.
- With `worker_connections` open, a new client takes the place of the one that has been waited for longest.
- What gunicorn refuses is problem+json with a request id, and is logged.
- On SIGTERM the backlog is accepted, the listener closed, and idle connections end soon.

Nothing is patched: the application waits by `runner.runtime.concurrency`. Names that gunicorn does not document, which
tests/functions/test_gunicorn.py checks: `GeventWorker.patch`, `AsyncWorker.handle`, `timeout_ctx`, `handle_request`,
`Worker.handle_error`, `load_wsgi`, `notify` (the steps that differ); `cfg.settings` (each reading evaluates it);
`Request.headers`, `version`, `path`, `force_close`, `body`, `unreader.buf` (to refuse a request and what follows it).
"""

from __future__ import annotations

import math
import os
import socket
import sys
from contextlib import nullcontext, suppress
from typing import Any

import gevent
from gevent.lock import Semaphore
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

from functions.http.admission import Admission
from functions.http.client_socket import ClientSocket, evict_longest_waiting
from functions.http.refusal import refuse
from functions.http.strict import require_strict
from functions.refusals import RefusalLog
from runner.runtime import concurrency
from runner.runtime.clock import Clock, SystemClock

LINGER_SECONDS = 2.0  # after SIGTERM, for a request that is being sent already
UNREAD_SECONDS, UNREAD_BYTES = 1.0, 65536  # for what the application did not read of a body
SEND_BUFFER = 16384  # bytes; by default, the kernel would keep megabytes for each client that does not read


class GreenletWorker(GeventWorker):  # type: ignore[misc]
    """gunicorn's worker with the rules above."""

    alive: bool
    timeout_ctx = nullcontext  # `_tick` has the bounds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock: Clock = SystemClock()  # gunicorn makes the worker, so this is the root of its process
        self._clients: set[ClientSocket] = set()
        self._refusals = RefusalLog("http", self._clock, gevent.spawn_later)

    @staticmethod
    def check_config(cfg: Any, _logger: Any) -> None:
        """Exit if TLS is configured: the ingress ends it. gunicorn calls this before it starts the first worker."""
        if cfg.is_ssl:
            sys.exit("the functions speak no TLS: let the ingress end it, and start them without certfile and keyfile")

    def patch(self) -> None:
        """After the fork."""
        concurrency.cooperate(threads=1)
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._capacity = Semaphore(self.worker_connections)

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self.wsgi: Any = Admission(self.wsgi, self.cfg.threads, self._clock, self._refusals, os.environ)

    def run(self) -> None:
        """Serve until SIGTERM or until the master has died; then accept the backlog, and finish what is in flight."""
        accepting = [gevent.spawn(self._accept_connections, listener) for listener in self.sockets]
        while self.alive and os.getppid() == self.ppid:
            self._tick(1.0)
        gevent.killall(accepting)
        self.alive = False
        for listener in self.sockets:
            while self._capacity.acquire(blocking=False) and self._accept(listener):
                pass
            gevent.sleep(0)  # the new greenlets read the listener's name
            listener.close()
        for client in self._clients:
            if client.idle:
                client.set_deadline(LINGER_SECONDS)
        until = self._clock.monotonic() + self.cfg.graceful_timeout
        while self._clients and self._clock.monotonic() < until:
            self._tick(0.05)

    def _tick(self, seconds: float) -> None:
        """Report to the master, wait for a signal, and end the clients whose time is over."""
        Worker.notify(self)
        with suppress(TimeoutError):
            concurrency.until_ready(self.PIPE[0], concurrency.READ, seconds)
            os.read(self.PIPE[0], 4096)  # one byte for each signal
        for client in [each for each in self._clients if each.deadline < self._clock.monotonic()]:
            client.end()

    def _accept_connections(self, listener: Any) -> None:
        """Accept one connection for each wake-up, since another worker may be idle; more if this one is busy."""
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        while True:
            concurrency.until_ready(listener.fileno(), concurrency.READ)
            for _ in range(1 + len(self._clients) // 16):
                if self._capacity.locked():
                    evict_longest_waiting(self._clients)
                self._capacity.acquire()
                if not self._accept(listener):
                    break

    def _accept(self, listener: Any) -> bool:
        """Accept one connection and start its greenlet; False if none is in the backlog."""
        if (accepted := concurrency.accept(listener)) is None:
            self._capacity.release()
            return False
        self._clients.add(client := ClientSocket.take_over(accepted[0], self._clock))
        gevent.spawn(self.handle, listener, client, accepted[1])
        return True

    def handle(self, listener: Any, client: ClientSocket, addr: Any) -> None:
        """Serve one connection, from its first request to its end."""
        try:
            super().handle(listener, client, addr)
        finally:
            self._clients.discard(client)
            self._capacity.release()

    def handle_request(self, listener_name: Any, req: Any, sock: ClientSocket, addr: Any) -> None:
        """Answer one request whose head has arrived, in one write. Raises StopIteration if it was the last one."""
        require_strict(req)
        sock.request, sock.deadline, sock.held = req, math.inf, []
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            sock.send_held()
        self._await_next(req, sock)

    def _await_next(self, req: Any, sock: ClientSocket) -> None:
        """Discard what is left of the body, and bound the wait for the next request."""
        sock.set_deadline(UNREAD_SECONDS)
        with suppress(Exception):  # it is too slow, malformed, or disconnected
            if len(req.body.read(UNREAD_BYTES)) < UNREAD_BYTES and not sock.ended:
                keepalive = self.cfg.keepalive if self.alive else LINGER_SECONDS
                sock.await_request(keepalive, begun=bool(req.unreader.buf.getvalue()))
                return
        raise StopIteration

    def handle_error(self, req: Any, client: ClientSocket, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn has refused, and what was not expected."""
        refuse(exc, req, client, addr, self._refusals, self.wsgi.metrics)
