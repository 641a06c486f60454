"""A worker of gunicorn's in which every connection has a greenlet, so that a slow client costs a socket and no more.

gunicorn's threads hand each request, and with every system call the interpreter's lock, to one another, which costs
several times what it takes to answer it; and ten clients that send half a request are an outage. Here one thread goes
from greenlet to greenlet, as `runner.runtime.concurrency` has it:

    knock ─▶ is there room? ─▶ idle ─▶ a head ─▶ is it their turn? ─▶ answer ─┬─▶ kept alive ─▶ idle
                                                                              └─▶ the rest is skipped ─▶ close

1. A request has its turn when its head has arrived: `threads` have at once, which bounds what the bodies take of memory
   and what waits for the sidecar. Whoever has none after `TURN_SECONDS` is refused as busy. Whoever asks for the health
   of the process needs no turn.
2. Whoever is late finds the connection at its end: with a head after `HEAD_SECONDS`, with a body after
   `READING_SECONDS`, with the next request after the time that is kept alive. Whatever still comes is no request.
3. A body that nobody wanted to read is skipped if it is there, and else ends the connection.
4. Nobody ever waits for a client to close.
5. An answer is sent in one piece: gunicorn sends its head first, and so wakes its client twice.
6. Told to stop, a worker lets in who has knocked and closes the door, where gunicorn's own leaves it open to nobody.

In here: the worker class, for `gunicorn.conf.py` alone. No function imports it, nor gunicorn.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import Semaphore
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from functions import ARRIVED
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline, SystemClock

HEAD_SECONDS = 10.0
"""For a head to arrive, from its first byte on."""

TURN_SECONDS = 10.0
"""As long as any answer may take (DEADLINE_SECONDS), which counts from the head's arrival."""

READING_SECONDS = 12.0
"""From the head's arrival; longer than any answer takes, so that only who still reads is met."""

READS_IN_A_ROW = 4
"""A client that sends faster than it is read never keeps us waiting: after so many others go on."""

SKIPPING_SECONDS, SKIPPING_BYTES = 1.0, 65536
"""For the next piece of a body that nobody wanted, which mostly came along with its head."""

SENDING_SECONDS = 10.0
"""For a client to take its answer."""

CLOSING_SECONDS, CLOSING_BYTES = 2.0, 16 * 1024 * 1024
"""How long and how much a client may go on sending before it takes notice of its last answer."""

_TICK_SECONDS, _STOPPING_TICK_SECONDS = 1.0, 0.05
"""How often we look whose time is over."""


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clock: Clock = SystemClock()  # gunicorn makes us, so this is the root of the process
        self._room = Semaphore(self.worker_connections)
        self._turns = Semaphore(self.cfg.threads)
        self._connections: set[_Connection] = set()
        self._idle: set[_Connection] = set()
        self.keepalived_conns = self._idle  # of which gthread wants to know how many there are

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Before the first worker. TLS would have to be waited for as well, and is the ingress' affair."""
        super().check_config(cfg, log)
        if cfg.is_ssl:
            sys.exit("the functions speak no TLS: let the ingress end it, and start them without certfile and keyfile")

    def init_process(self) -> None:
        """After the fork; returns when the worker ends."""
        # Each look at a setting goes through gunicorn's description of it, fifty times a request. None changes now.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        concurrency.cooperate(threads=1)
        Worker.init_process(self)  # gthread's own would make a thread pool and a poller besides

    def load_wsgi(self) -> None:
        """The application, which is to answer in one piece."""
        super().load_wsgi()
        self.wsgi: Any = _in_one_piece(self.wsgi)

    def handle_exit(self, _signal: int, _frame: Any) -> None:
        """SIGTERM. Who keeps time has been woken by its wake-up pipe."""
        self.alive = False

    def handle_quit(self, number: int, frame: Any) -> None:
        """SIGINT, SIGQUIT."""
        Worker.handle_quit(self, number, frame)

    def run(self) -> None:
        """Let the greenlets serve, keep time, and end in order."""
        for listener in self.sockets:
            listener.setblocking(False)
        doors = [gevent.spawn(self._let_in_all, listener) for listener in self.sockets]
        while self.alive and self.is_parent_alive():
            self._let_pass(_TICK_SECONDS)
        gevent.killall(doors)
        self._finish()

    def _finish(self) -> None:
        """Let in who has knocked, close the doors, and wait for what is in hand."""
        self.alive = False
        for listener in self.sockets:
            while self._room.acquire(blocking=False) and self._let_in(listener):
                pass
            listener.close()
        # A client may be sending its next request already: it is answered, with "Connection: close".
        linger = self._clock.monotonic() + STOP_KEEPALIVE_LINGER
        for conn in self._idle:
            conn.until = min(conn.until, linger)
        deadline = Deadline.after(self.cfg.graceful_timeout, self._clock)
        while self._connections and deadline.left > 0:
            self._let_pass(_STOPPING_TICK_SECONDS)

    def _let_pass(self, seconds: float) -> None:
        self.notify()
        with suppress(TimeoutError):
            concurrency.until_ready(self.PIPE[0], concurrency.READ, seconds)
            os.read(self.PIPE[0], 4096)  # a byte for each signal
        now = self._clock.monotonic()
        for conn in self._connections:
            if conn.until < now:
                conn.end()

    def _let_in_all(self, listener: Any) -> None:
        """As long as there is room: one at each knock, since another worker may be idle."""
        while True:
            self._room.acquire()
            admitted = False
            while not admitted:
                concurrency.until_ready(listener.fileno(), concurrency.READ)
                admitted = self._let_in(listener)

    def _let_in(self, listener: Any) -> bool:
        """Whoever is next, if somebody is."""
        accepted = concurrency.accept(listener)
        if accepted is None:
            return False
        plain, address = accepted
        sock = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        sock.clock = self._clock
        conn = _Connection(self.cfg, sock, address, listener.getsockname())
        self._connections.add(conn)
        gevent.spawn(self._serve, conn)
        return True

    def _serve(self, conn: _Connection) -> None:
        """A connection, from its first request to its end."""
        try:
            while self._converse(conn):
                pass
            conn.part()
        except Exception:
            self.log.exception("a connection failed for a reason of ours")
        finally:
            self._connections.discard(conn)
            conn.close()
            self._room.release()

    def _converse(self, conn: _Connection) -> bool:
        """One request, once it has come. False where the connection is to end."""
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

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """A request whose head has arrived, to its answer."""
        self._idle.discard(conn)
        conn.until = math.inf
        conn.sock.arrived = arrived = self._clock.monotonic()
        if req.method != "POST":
            conn.until = arrived + READING_SECONDS
            return super().handle_request(req, conn)
        has_turn = self._turns.acquire(timeout=TURN_SECONDS)
        try:
            conn.sock.arrived = arrived if has_turn else -math.inf  # too long ago for anything to be done about it
            conn.until = arrived + READING_SECONDS
            return super().handle_request(req, conn)
        finally:
            if has_turn:
                self._turns.release()

    def _keepalive_after(self, conn: _Connection, keepalive: bool) -> bool:
        """Whether the connection can serve another request, once the rest of this one is skipped."""
        if not keepalive:
            return False
        if getattr(conn.parser.mesg.body.reader, "length", None) == 0:
            return True  # nothing is left of it
        conn.sock.settimeout(SKIPPING_SECONDS)
        return bool(conn.parser.finish_body(max_bytes=SKIPPING_BYTES)) and not conn.ended


class _Connection(TConn):  # type: ignore[misc]
    """A connection, and until when its client may take time for what it does."""

    sock: _Socket

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.until = math.inf
        self.ended = False
        self.data_ready = True  # gthread need not wait for it

    def has_more(self) -> bool:
        """Whether the beginning of another request came along with the one before."""
        return self.parser is not None and bool(self.parser.unreader.buf.getvalue())

    def end(self) -> None:
        """Whoever reads, or will, finds the connection at its end, and no other request is read from it.

        For gunicorn, a body that was cut off is a body read to its end; and what arrives after the shutdown can still
        be read (tcp(7) does not say so, Linux does).
        """
        self.until, self.ended = math.inf, True
        if self.parser is not None and self.parser.mesg is not None:
            self.parser.mesg.force_close()
        with suppress(OSError):  # its client was faster
            self.sock.shutdown(socket.SHUT_RD)

    def part(self) -> None:
        """Read what a client still sends, so that its last answer is not lost (RFC 9112, section 9.6)."""
        skipped = 0
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(None)
            self.until = self.sock.clock.monotonic() + CLOSING_SECONDS
            while skipped <= CLOSING_BYTES and (received := self.sock.recv(65536)):
                skipped += len(received)


class _Socket(socket.socket):
    """One for which its greenlet waits, and the others go on; no longer than `settimeout` says."""

    clock: Clock
    _seconds: float | None = None
    arrived = 0.0
    """When the head of the request did that is being answered, on the monotonic clock."""
    reads = 0
    """Since it was last waited for."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:  # by `waiting` itself
            return super().recv(size, flags)
        self.reads += 1
        if self.reads > READS_IN_A_ROW:
            self.reads = 0
            concurrency.yield_to_loop(self.fileno())
        seconds = math.inf if self._seconds is None else self._seconds
        return concurrency.receive(self, size, Deadline.after(seconds, self.clock))

    def send(self, data: Any, flags: int = 0) -> int:
        """gunicorn's "100 Continue"."""
        if flags:  # by `waiting` itself
            return super().send(data, flags)
        self.sendall(data)
        return len(data)

    def sendall(self, data: Any, _flags: int = 0) -> None:
        try:
            concurrency.send(self, data, Deadline.after(SENDING_SECONDS, self.clock))
        except TimeoutError as error:  # gunicorn would take it for a fault of ours
            raise BrokenPipeError(errno.EPIPE, "the client does not take its answer") from error

    def setblocking(self, flag: bool) -> None:
        """gunicorn asks for it again and again: it always blocks its greenlet, and never the thread."""
        if flag:
            self._seconds = None

    def settimeout(self, seconds: float | None) -> None:
        self._seconds = seconds

    def gettimeout(self) -> float | None:
        return self._seconds


class _Gathering:
    """Takes what gunicorn sends of an answer; and is its body, which gunicorn closes once all has been sent."""

    def __init__(self, sock: socket.socket, body: Any) -> None:
        self._sock = sock
        self._body = body
        self._pieces: list[bytes] = []

    def sendall(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            self._sock.sendall(b"".join(self._pieces))
        finally:
            if hasattr(self._body, "close"):
                self._body.close()


def _in_one_piece(app: Any) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> _Gathering:
        environ[ARRIVED] = environ["gunicorn.socket"].arrived
        body = app(environ, start_response)
        response = start_response.__self__  # gunicorn's own, which sends by `sock`, and nothing before it has the body
        response.sock = gathering = _Gathering(response.sock, body)
        return gathering

    return answer
