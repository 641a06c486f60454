"""gunicorn's threaded worker, made so that a slow client costs a socket, and neither a thread nor the loop.

gunicorn's own lends a thread to a connection with its first byte, for as long as the rest takes; and its loop waits up
to two seconds for each client that has had its last answer and does not close. Ten such clients are an outage. Here

1. a request gets a thread when its head has arrived; until then the poller has the connection,
2. whoever reads a body after `READING_SECONDS` finds the connection at its end,
3. a body that nobody wanted to read is skipped if it is there, and else ends the connection,
4. the loop never waits for a client to close,
5. told to stop, a worker lets in who has knocked and closes the door, where gunicorn's own leaves it open to nobody.

In here: the worker class, for `gunicorn.conf.py` alone. No function imports it, nor gunicorn.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

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


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """See above. What a connection needs besides is kept in attributes of its TConn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[TConn, float] = {}
        self._closing: deque[TConn] = deque()

    def handle(self, conn: TConn) -> Any:
        """In a thread: serve one request, or give the connection back to the poller."""
        if not _head_has_arrived(conn):
            return _DEFER if time.monotonic() < conn.head_until else False
        _wake_for_anything(conn)
        self._reading[conn] = time.monotonic() + READING_SECONDS
        try:
            return super().handle(conn)
        finally:
            del self._reading[conn]

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """In a thread: whether the connection can serve another request, once the rest of this one is skipped."""
        if not keepalive:
            return False
        idle = 2 * len(self._reading) <= self.cfg.threads
        conn.sock.settimeout(SKIPPING_SECONDS if idle else SKIPPING_SECONDS_BUSY)
        return bool(conn.parser.finish_body(max_bytes=SKIPPING_BYTES))

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        """On the loop: what becomes of the connection."""
        result = None if done.cancelled() or done.exception() else done.result()
        if result is _DEFER:
            self._wait_for(conn)
        elif result is False:
            self._begin_to_close(conn)
        else:
            super().finish_request(conn, done)

    def _wait_for(self, conn: TConn) -> None:
        """Give the connection to the poller; for a moment only, on the way to the end."""
        conn.timeout = time.monotonic() + (self.cfg.keepalive if self.alive else CLOSING_SECONDS)
        self.pending_conns.append(conn)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _begin_to_close(self, conn: TConn) -> None:
        conn.skipped, conn.timeout = 0, time.monotonic() + CLOSING_SECONDS
        self._closing.append(conn)
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._skip, conn))
        except (OSError, ValueError, KeyError):  # it is closed already
            self._close(conn)

    def _skip(self, conn: TConn, sock: socket.socket) -> None:
        """Read what a client still sends, so that its last answer is not lost (RFC 9112, section 9.6)."""
        try:
            received = len(sock.recv(MAX_HEAD))
        except BlockingIOError:
            return
        except OSError:
            received = 0
        conn.skipped += received
        if not received or conn.skipped > CLOSING_BYTES:
            self._close(conn)

    def _close(self, conn: TConn) -> None:
        with suppress(OSError, ValueError, KeyError):  # it was never registered, or is closed
            self.poller.unregister(conn.sock)
        self._closing.remove(conn)
        self.nr_conns -= 1
        conn.close()

    def set_accept_enabled(self, enabled: bool) -> None:
        """On the loop; with False and no longer alive, for the last time."""
        super().set_accept_enabled(enabled)
        if self.alive or enabled:
            return
        for listener in self.sockets:
            served = -1
            while served < self.nr_conns < self.worker_connections:
                served = self.nr_conns
                self.accept(listener)
            listener.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """On the way to the end: a connection on which nothing has been asked yet is not waited for either."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def murder_pending(self) -> None:
        """On the loop, at least once a second."""
        super().murder_pending()
        now = time.monotonic()
        while self._closing and self._closing[0].timeout < now:
            self._close(self._closing[0])
        for conn, until in list(self._reading.items()):
            if until < now:
                with suppress(OSError):  # its client was faster
                    conn.sock.shutdown(socket.SHUT_RD)


def _head_has_arrived(conn: TConn) -> bool:
    """Whether a thread would not have to wait for the rest of a head."""
    if conn.parser is not None and conn.parser.unreader.buf.getvalue():
        return True  # the beginning of a request that came along with the one before
    known = getattr(conn, "head_size", 0)
    if not known:
        conn.head_until = time.monotonic() + HEAD_SECONDS
    try:
        head = conn.sock.recv(MAX_HEAD, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
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
