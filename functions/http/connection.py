"""A client's connection and its socket, as gunicorn's parser uses them, with a bound on everything that is waited for.

gunicorn's parser reads and writes as if its socket blocked. Here only the connection's greenlet waits. All that the
worker reads of the parser's private state is in `ClientConnection`.
"""

from __future__ import annotations

import errno
import math
import socket
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import TConn

from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline

READS_IN_A_ROW = 4
"""After so many reads that did not wait, a greenlet yields, so that a fast sender does not delay other connections."""

DISCARD_SECONDS, DISCARD_BYTES = 1.0, 65536
"""Limits for discarding an unread body: seconds for each read, and bytes in total. Most arrive with their head."""

SENDING_SECONDS = 10.0
"""For a client to receive its response."""

CLOSING_SECONDS, CLOSING_BYTES = 2.0, 16 * 1024 * 1024
"""How long, and how much, a client may go on sending after its last response."""


class ClientConnection(TConn):  # type: ignore[misc]
    """A connection, and the moment when it is ended."""

    sock: ClientSocket

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.until = math.inf
        """On the monotonic clock, in seconds. The worker calls `end` after it."""
        self.ended = False
        self.data_ready = True  # gthread need not wait for data

    def has_more(self) -> bool:
        """Whether the beginning of another request arrived together with the previous one."""
        return self.parser is not None and bool(self.parser.unreader.buf.getvalue())

    def discard_body(self) -> bool:
        """Discard what the application has not read of the body. False if the connection cannot be used after it."""
        if getattr(self.parser.mesg.body.reader, "length", None) == 0:
            return True  # nothing is left of it
        self.sock.settimeout(DISCARD_SECONDS)
        return bool(self.parser.finish_body(max_bytes=DISCARD_BYTES)) and not self.ended

    def end(self) -> None:
        """Shut it down for reading: the pending read and all later ones find its end, and no other request is read.

        gunicorn takes a body that was cut off for a complete one, and data that arrives after the shutdown can still be
        read (Linux does so; tcp(7) does not say it). So the parser must also close the connection.
        """
        self.until, self.ended = math.inf, True
        if self.parser is not None and self.parser.mesg is not None:
            self.parser.mesg.force_close()
        with suppress(OSError):  # the client has closed it already
            self.sock.shutdown(socket.SHUT_RD)

    def discard_to_end(self) -> None:
        """Read what the client still sends, so that its last response is not lost (RFC 9112, section 9.6)."""
        discarded = 0
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(None)
            self.until = self.sock.clock.monotonic() + CLOSING_SECONDS
            while discarded <= CLOSING_BYTES and (received := self.sock.recv(65536)):
                discarded += len(received)


class ClientSocket(socket.socket):
    """A socket whose calls block the greenlet, never the thread; no longer than `settimeout` says."""

    clock: Clock
    _seconds: float | None = None
    arrived = 0.0
    """When the head of the current request arrived, on the monotonic clock."""
    reads = 0
    """Since the greenlet last waited for the socket or yielded."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At most `size` bytes. Raises TimeoutError."""
        if flags:  # a call from `concurrency` itself
            return super().recv(size, flags)
        self.reads += 1
        if self.reads > READS_IN_A_ROW:
            self.reads = 0
            concurrency.yield_to_loop(self.fileno())
        seconds = math.inf if self._seconds is None else self._seconds
        return concurrency.receive(self, size, Deadline.after(seconds, self.clock))

    def send(self, data: Any, flags: int = 0) -> int:
        """All of `data`. gunicorn sends "100 Continue" by it."""
        if flags:  # a call from `concurrency` itself
            return super().send(data, flags)
        self.sendall(data)
        return len(data)

    def sendall(self, data: Any, _flags: int = 0) -> None:
        """All of `data`. Raises BrokenPipeError if the client does not receive it within SENDING_SECONDS."""
        try:
            concurrency.send(self, data, Deadline.after(SENDING_SECONDS, self.clock))
        except TimeoutError as error:  # gunicorn would log it as an error of the application
            raise BrokenPipeError(errno.EPIPE, "the client does not take its answer") from error

    def setblocking(self, flag: bool) -> None:
        """Remove the timeout. gunicorn calls this often; the mode of the socket never changes."""
        if flag:
            self._seconds = None

    def settimeout(self, seconds: float | None) -> None:
        """For each receive that follows; None for no bound."""
        self._seconds = seconds

    def gettimeout(self) -> float | None:
        """What `settimeout` was last called with."""
        return self._seconds
