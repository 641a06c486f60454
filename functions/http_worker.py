"""gunicorn's threaded worker, in which every thread waits for itself, and a slow client costs a socket and no more.

gunicorn's own has one thread that waits for all connections, hands each request to another thread, and is handed the
connection back: four wake-ups for a request, which cost several times what it takes to answer it. And it lends a thread
to a connection with its first byte, for as long as the rest takes; ten clients that send nothing more are an outage.
Here all threads wait on one epoll, and each takes what comes next:

    epoll ─▶ a thread ─┬─ a listener: accept ─┐
      ▲                └─ a connection ───────┴─▶ has the head arrived? ─▶ answer ─▶ close
      └───────────────────────── armed again ◀──────── not yet ◀─┘           └─▶ kept alive ─▶ armed again

1. What is armed wakes one thread, once (EPOLLONESHOT, epoll(7)). A connection is either in `_waiting`, or in the hands
   of whoever has taken it out: a thread for an event, or the main thread because its time is over.
2. A request gets a thread when its head has arrived; until then the poller has the connection.
3. Whoever reads a body after `READING_SECONDS` finds the connection at its end.
4. A body that nobody wanted to read is skipped if it is there, and else ends the connection.
5. Nobody ever waits for a client to close.
6. An answer is sent in one piece: gunicorn sends its head first, and so wakes its client twice.
7. Told to stop, a worker lets in who has knocked and closes the door, where gunicorn's own leaves it open to nobody.

In here: the worker class, for `gunicorn.conf.py` alone. No function imports it, nor gunicorn.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import _DEFER, STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

HEAD_SECONDS = 10.0
"""For a head to arrive, from its first byte on."""

READING_SECONDS = 12.0
"""Longer than any answer takes (DEADLINE_SECONDS), so that only who still reads is met."""

SKIPPING_SECONDS, SKIPPING_SECONDS_BUSY, SKIPPING_BYTES = 1.0, 0.01, 65536
"""For the next piece of a body that nobody wanted, which mostly came along with its head: while at least half of the
threads have nothing to do, and else."""

CLOSING_SECONDS, CLOSING_BYTES = 2.0, 16 * 1024 * 1024
"""How long and how much a client may go on sending before it takes notice of its last answer."""

MAX_HEAD = 65536
"""Bytes of a head that are waited for; the parser takes a longer one from there, and has bounds of its own."""

_TICK_SECONDS, _STOPPING_TICK_SECONDS = 1.0, 0.05
"""How often the main thread looks whose time is over."""

_NO_FILES_SECONDS = 0.25
"""Until the next try to accept, where no more files can be opened."""

_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See above. What a connection needs besides is kept in attributes of its TConn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listeners: dict[int, Any] = {}
        self._full: list[Any] = []  # listeners that are not armed, since there are as many connections as may be
        self._connections: set[TConn] = set()
        self._waiting: dict[int, TConn] = {}
        self._reading: dict[TConn, float] = {}
        self.keepalived_conns = self._waiting  # of which gthread wants to know how many there are

    def init_process(self) -> None:
        """After the fork; returns when the worker ends."""
        # Each look at a setting goes through gunicorn's description of it, fifty times a request. None changes now.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._epoll = select.epoll()
        Worker.init_process(self)  # gthread's own would make a thread pool and a poller besides

    def load_wsgi(self) -> None:
        """The application, which is to answer in one piece."""
        super().load_wsgi()
        self.wsgi: Any = _in_one_piece(self.wsgi)

    def handle_exit(self, _signal: int, _frame: Any) -> None:
        """SIGTERM. The main thread has been woken by its wake-up pipe."""
        self.alive = False

    def handle_quit(self, number: int, frame: Any) -> None:
        """SIGINT, SIGQUIT."""
        Worker.handle_quit(self, number, frame)

    def run(self) -> None:
        """The main thread: let the others serve, keep time, and end in order."""
        for listener in self.sockets:
            listener.setblocking(False)
            self._listeners[listener.fileno()] = listener
            self._epoll.register(listener.fileno(), _ONCE)
        for number in range(self.cfg.threads):
            threading.Thread(target=self._serve, name=f"request-{number}", daemon=True).start()
        while self.alive and self.is_parent_alive():
            self._let_pass(_TICK_SECONDS)
        self._finish()

    def _finish(self) -> None:
        """Let in who has knocked, close the doors, and wait for what is in hand."""
        self.alive = False
        for number, listener in self._listeners.copy().items():
            while len(self._connections) < self.worker_connections and (conn := self._accept(listener)):
                self._wait_for(conn, STOP_KEEPALIVE_LINGER)
            del self._listeners[number]
            listener.close()
        until = time.monotonic() + self.cfg.graceful_timeout
        # A client may be sending its next request already: it is answered, with "Connection: close".
        for conn in self._waiting.copy().values():
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        while self._connections and time.monotonic() < until:
            self._let_pass(_STOPPING_TICK_SECONDS)

    def _let_pass(self, seconds: float) -> None:
        self.notify()
        if select.select([self.PIPE[0]], [], [], seconds)[0]:
            os.read(self.PIPE[0], 4096)  # a byte for each signal
        self._end_overdue(time.monotonic())
        self._open_again()

    def _end_overdue(self, now: float) -> None:
        for number, conn in self._waiting.copy().items():
            if conn.timeout < now and (taken := self._waiting.pop(number, None)):
                if taken is conn:
                    self._close(conn)
                else:  # another connection has got its number meanwhile
                    self._arm(taken)
        for conn, until in self._reading.copy().items():
            if until < now:
                with suppress(OSError):  # its client was faster
                    conn.sock.shutdown(socket.SHUT_RD)

    def _serve(self) -> None:
        """One of the threads: take what comes next."""
        while True:
            for number, _ in self._epoll.poll(maxevents=1):
                try:
                    self._attend(number)
                except Exception:
                    self.log.exception("a connection failed for a reason of ours")

    def _attend(self, number: int) -> None:
        listener = self._listeners.get(number)
        conn = self._accept(listener) if listener else self._waiting.pop(number, None)
        if conn is None:  # somebody else was faster
            return
        if hasattr(conn, "closing_until"):
            self._skip(conn)
        elif self._converse(conn):
            self._wait_for(conn, self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        else:
            self._begin_to_close(conn)

    def _accept(self, listener: Any) -> TConn | None:
        """The next connection, if there is one; and let another thread accept the one after it."""
        try:
            sock, address = listener.accept()
            conn = TConn(self.cfg, sock, address, listener.getsockname())
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self.log.error("no connection could be accepted: %s; raise the limit on open files", error)
                time.sleep(_NO_FILES_SECONDS)
            conn = None
        else:
            conn.data_ready = True  # gthread need not wait for it
            self._connections.add(conn)
        self._open(listener)
        return conn

    def _open(self, listener: Any) -> None:
        if len(self._connections) >= self.worker_connections:
            self._full.append(listener)
            return
        with suppress(OSError, ValueError):  # it has been closed
            self._epoll.modify(listener.fileno(), _ONCE)

    def _open_again(self) -> None:
        with suppress(IndexError):
            self._open(self._full.pop())

    def _converse(self, conn: TConn) -> bool:
        """Answer what has arrived. False where the connection is to end."""
        while True:
            outcome = self.handle(conn)
            if outcome is False or not _has_more(conn):
                return outcome is not False

    def handle(self, conn: TConn) -> Any:
        """Serve one request: True where another may follow, _DEFER where it has not arrived yet, else False."""
        if not _head_has_arrived(conn):
            return _DEFER if time.monotonic() < conn.head_until else False
        _wake_for_anything(conn)
        self._reading[conn] = time.monotonic() + READING_SECONDS
        try:
            return super().handle(conn)
        finally:
            del self._reading[conn]

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether the connection can serve another request, once the rest of this one is skipped."""
        if not keepalive:
            return False
        if getattr(conn.parser.mesg.body.reader, "length", None) == 0:
            return True  # nothing is left of it
        idle = 2 * len(self._reading) <= self.cfg.threads
        conn.sock.settimeout(SKIPPING_SECONDS if idle else SKIPPING_SECONDS_BUSY)
        return bool(conn.parser.finish_body(max_bytes=SKIPPING_BYTES))

    def _wait_for(self, conn: TConn, seconds: float) -> None:
        """Give the connection to the poller, until then."""
        conn.timeout = time.monotonic() + seconds
        self._arm(conn)

    def _arm(self, conn: TConn) -> None:
        number = conn.sock.fileno()
        self._waiting[number] = conn  # before it can wake anybody
        try:
            if hasattr(conn, "registered"):
                self._epoll.modify(number, _ONCE)
            else:
                conn.registered = True
                self._epoll.register(number, _ONCE)
        except (OSError, ValueError):  # it is closed
            self._waiting.pop(number, None)
            self._close(conn)

    def _begin_to_close(self, conn: TConn) -> None:
        conn.skipped, conn.closing_until = 0, time.monotonic() + CLOSING_SECONDS
        with suppress(OSError):  # it is closed already
            conn.sock.shutdown(socket.SHUT_WR)
        self._wait_for(conn, CLOSING_SECONDS)

    def _skip(self, conn: TConn) -> None:
        """Read what a client still sends, so that its last answer is not lost (RFC 9112, section 9.6)."""
        try:
            received = len(conn.sock.recv(MAX_HEAD, socket.MSG_DONTWAIT))
        except (OSError, ValueError):
            received = 0
        conn.skipped += received
        if not received or conn.skipped > CLOSING_BYTES:
            self._close(conn)
        else:
            self._wait_for(conn, conn.closing_until - time.monotonic())

    def _close(self, conn: TConn) -> None:
        self._connections.discard(conn)
        conn.close()
        self._open_again()


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
        body = app(environ, start_response)
        response = start_response.__self__  # gunicorn's own, which sends by `sock`, and nothing before it has the body
        response.sock = gathering = _Gathering(response.sock, body)
        return gathering

    return answer


def _has_more(conn: TConn) -> bool:
    """Whether the beginning of another request came along with the one before. It wakes no poller any more."""
    return conn.parser is not None and bool(conn.parser.unreader.buf.getvalue())


def _head_has_arrived(conn: TConn) -> bool:
    """Whether a thread would not have to wait for the rest of a head."""
    if _has_more(conn):
        return True
    known = getattr(conn, "head_size", 0)
    if not known:
        conn.head_until = time.monotonic() + HEAD_SECONDS
    try:
        head = conn.sock.recv(MAX_HEAD, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except (OSError, ValueError):  # broken; or TLS, where nobody can look ahead
        return True
    if b"\r\n\r\n" in head or b"\n\n" in head or len(head) in (known, MAX_HEAD) or not head[:1].isalpha():
        return True
    # Wake the poller for more than this only (socket(7), SO_RCVLOWAT), or at the end of the connection.
    conn.head_size = len(head)
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(head) + 1)
    return False


def _wake_for_anything(conn: TConn) -> None:
    if getattr(conn, "head_size", 0):
        conn.head_size = 0
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
