"""The gunicorn worker of the HTTP server: one greenlet for each connection, so that a slow client costs one socket.

gunicorn's threaded worker passes each request between threads, and hands over the GIL at every system call. That costs
several times as much as the response itself, and ten clients that send half a request block every thread. This worker
has one thread, which switches between greenlets while they wait (`runner.runtime.concurrency`):

    backlog ─▶ accept ─▶ idle ─▶ head arrived ─▶ slot ─▶ response ─┬─▶ keep-alive ─▶ idle
                                                                    └─▶ discard the rest ─▶ close

1. A POST request gets a slot after its head has arrived. There are as many slots as gunicorn's setting `threads` says,
   which bounds the memory for bodies and the requests that wait for the sidecar. A request that has no slot after
   `SLOT_SECONDS` is refused as busy. Other requests (health checks) need no slot.
2. A connection is shut down for reading when its time is over: `HEAD_SECONDS` for a head, `READING_SECONDS` for a body,
   gunicorn's `keepalive` for the next request. What arrives later is never read as a request.
3. A body that the application did not read is discarded if it is there already; if not, the connection is closed.
4. A client that does not close its side delays no other connection.
5. A response is sent in one piece, see `functions.http.response`.
6. On SIGTERM, the worker accepts what is in the backlog, then closes the listener. gunicorn's threaded worker stops
   accepting but leaves the listener open.

In here: the worker class, for `gunicorn.conf.py` alone. No function imports it, nor gunicorn.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import Semaphore
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from functions.http.connection import ClientConnection, ClientSocket
from functions.http.response import send_in_one_piece
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline, SystemClock

HEAD_SECONDS = 10.0
"""For a head to arrive, from its first byte on."""

SLOT_SECONDS = 10.0
"""For a request to get a slot, from its head's arrival on. As long as any response may take (DEADLINE_SECONDS)."""

READING_SECONDS = 12.0
"""For a body to be read, from its head's arrival on. Longer than any response takes, so it ends only slow bodies."""

_TICK_SECONDS, _STOPPING_TICK_SECONDS = 1.0, 0.05
"""Between two checks for connections whose time is over."""


class GreenletWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker with greenlets in place of its threads; the module's docstring has the rules."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock: Clock = SystemClock()  # gunicorn makes the worker, so this is the root of its process
        self._capacity = Semaphore(self.worker_connections)
        self._slots = Semaphore(self.cfg.threads)
        self._connections: set[ClientConnection] = set()
        self._idle: set[ClientConnection] = set()
        self.keepalived_conns = self._idle  # gthread reads how many there are

    @classmethod
    def check_config(cls, cfg: Any, logger: Any) -> None:
        """Exit if TLS is configured: its handshake would block the thread, and the ingress terminates TLS.

        gunicorn calls this before it starts the first worker.
        """
        super().check_config(cfg, logger)
        if cfg.is_ssl:
            sys.exit("the functions speak no TLS: let the ingress end it, and start them without certfile and keyfile")

    def init_process(self) -> None:
        """After the fork; returns when the worker ends."""
        # gunicorn evaluates a setting each time it is read, fifty times a request. No setting changes from here on.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        concurrency.cooperate(threads=1)
        Worker.init_process(self)  # gthread's own would also make a thread pool and a poller

    def load_wsgi(self) -> None:
        """Load the application, and have its responses sent in one piece."""
        super().load_wsgi()
        self.wsgi: Any = send_in_one_piece(self.wsgi)

    def handle_exit(self, _signal: int, _frame: Any) -> None:
        """SIGTERM. gunicorn's pipe wakes `run`."""
        self.alive = False

    def handle_quit(self, number: int, frame: Any) -> None:
        """SIGINT, SIGQUIT."""
        Worker.handle_quit(self, number, frame)

    def run(self) -> None:
        """Accept and serve until the worker is stopped or its master has died, then drain."""
        for listener in self.sockets:
            listener.setblocking(False)
        accepting = [gevent.spawn(self._accept_connections, listener) for listener in self.sockets]
        while self.alive and self.is_parent_alive():
            self._tick(_TICK_SECONDS)
        gevent.killall(accepting)
        self._drain()

    def _drain(self) -> None:
        """Accept what is in the backlog, close the listeners, and wait for the requests in flight."""
        self.alive = False
        for listener in self.sockets:
            while self._capacity.acquire(blocking=False) and self._accept(listener):
                pass
            listener.close()
        # A client may be sending its next request already: it is answered, with "Connection: close".
        linger = self._clock.monotonic() + STOP_KEEPALIVE_LINGER
        for conn in self._idle:
            conn.until = min(conn.until, linger)
        deadline = Deadline.after(self.cfg.graceful_timeout, self._clock)
        while self._connections and deadline.left > 0:
            self._tick(_STOPPING_TICK_SECONDS)

    def _tick(self, seconds: float) -> None:
        """Report to the master, wait for a signal, and end the connections whose time is over."""
        self.notify()
        with suppress(TimeoutError):
            concurrency.until_ready(self.PIPE[0], concurrency.READ, seconds)
            os.read(self.PIPE[0], 4096)  # one byte for each signal
        now = self._clock.monotonic()
        for conn in self._connections:
            if conn.until < now:
                conn.end()

    def _accept_connections(self, listener: Any) -> None:
        """Accept while there is capacity. One connection for each wake-up, since another worker may be idle."""
        while True:
            self._capacity.acquire()
            accepted = False
            while not accepted:
                concurrency.until_ready(listener.fileno(), concurrency.READ)
                accepted = self._accept(listener)

    def _accept(self, listener: Any) -> bool:
        """Accept one connection and start its greenlet; False if none is in the backlog."""
        accepted = concurrency.accept(listener)
        if accepted is None:
            return False
        plain, address = accepted
        sock = ClientSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        sock.clock = self._clock
        conn = ClientConnection(self.cfg, sock, address, listener.getsockname())
        self._connections.add(conn)
        gevent.spawn(self._serve, conn)
        return True

    def _serve(self, conn: ClientConnection) -> None:
        """Serve one connection, from its first request to its end."""
        try:
            while self._serve_request(conn):
                pass
            conn.discard_to_end()
        except Exception:
            self.log.exception("a connection failed with an internal error")
        finally:
            self._connections.discard(conn)
            conn.close()
            self._capacity.release()

    def _serve_request(self, conn: ClientConnection) -> bool:
        """Wait for one request and answer it. False if the connection is to be closed."""
        self._idle.add(conn)
        try:
            if conn.has_more():
                concurrency.yield_to_loop(conn.sock.fileno())
            else:
                conn.until = self._clock.monotonic() + (self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
                concurrency.until_ready(conn.sock.fileno(), concurrency.READ)
                conn.sock.reads = 0
            conn.until = self._clock.monotonic() + HEAD_SECONDS
            return self.handle(conn) is True
        finally:
            self._idle.discard(conn)

    def handle_request(self, req: Any, conn: ClientConnection) -> Any:
        """Answer a request whose head has arrived; gunicorn's `handle` calls this."""
        self._idle.discard(conn)
        conn.until = math.inf
        conn.sock.arrived = arrived = self._clock.monotonic()
        if req.method != "POST":
            conn.until = arrived + READING_SECONDS
            return super().handle_request(req, conn)
        has_slot = self._slots.acquire(timeout=SLOT_SECONDS)
        try:
            conn.sock.arrived = arrived if has_slot else -math.inf  # so long ago that the application refuses it
            conn.until = arrived + READING_SECONDS
            return super().handle_request(req, conn)
        finally:
            if has_slot:
                self._slots.release()

    def _keepalive_after(self, conn: ClientConnection, keepalive: bool) -> bool:
        """Whether the connection can serve another request, after the rest of this one is discarded.

        gunicorn's `handle_request` calls this private method of gthread's.
        """
        return conn.discard_body() if keepalive else False
