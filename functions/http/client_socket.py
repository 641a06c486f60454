"""A client's socket, as gunicorn's parser uses it.

A call that blocks, blocks only the greenlet of this client. Each wait has a deadline. The worker looks at the deadlines
of all its clients, and ends a client's socket once its deadline is over; the blocked call then returns.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import gevent.socket

from runner.runtime import concurrency
from runner.runtime.clock import Clock

HEAD_SECONDS = SENDING_SECONDS = 10.0
"""For the first byte and again for the head of a request, and for a client to receive its answer."""

CLOSING_SECONDS, CLOSING_BYTES = 2.0, 16 * 1024 * 1024
"""How long, and how much, a client may go on sending after its last answer."""

READS_IN_A_ROW = 4
"""After so many, a greenlet yields, so that a fast sender does not delay other clients."""


class TooSlow(Exception):
    """A request did not arrive in time, or its socket was ended to serve another client."""


class ClientSocket(gevent.socket.socket):  # type: ignore[misc]
    """The socket of one client, and what it is doing. All times are of the monotonic clock, in seconds."""

    clock: Clock
    request: Any = None
    """gunicorn's request, while the application works on it."""

    deadline = math.inf
    """When the worker ends the socket; infinite while it is not the client that we wait for."""

    waiting_since = math.inf
    """Since when we wait for the client to send or to receive; infinite while we do not."""

    arrived, reads = 0.0, 0
    idle, receiving, sending, answered, ended, evicted = True, False, False, False, False, False
    held: list[bytes] | None = None
    """The parts of the answer that is being made; they are sent together."""

    @classmethod
    def take_over(cls, accepted: socket.socket, clock: Clock) -> ClientSocket:
        """The same connection, with the deadline for its first byte."""
        client = cls(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        client.clock = clock
        client.set_deadline(HEAD_SECONDS)
        return client

    def set_deadline(self, seconds: float) -> None:
        """Let the worker end it after this many seconds."""
        self.deadline = self.clock.monotonic() + seconds

    def await_request(self, seconds: float, *, begun: bool) -> None:
        """Wait this long for the next request; if it has `begun` to arrive, HEAD_SECONDS for its head."""
        self.idle, self.reads = not begun, 0
        self.set_deadline(HEAD_SECONDS if begun else seconds)
        if begun:  # a client that sends many requests at once does not delay others
            concurrency.yield_to_loop(self.fileno())

    def clear_deadline(self) -> None:
        """Let the worker not end it: we do not wait for the client now."""
        self.deadline = math.inf

    def close_after_answer(self) -> None:
        """Read no further request: close the connection once this one is answered."""
        if self.request is not None:
            self.request.force_close()

    def end(self) -> None:
        """Shut it down: no byte that arrives later is read, though Linux would deliver it."""
        self.ended, self.deadline = True, math.inf
        self.close_after_answer()
        with suppress(OSError):  # the client has closed it already
            self.shutdown(socket.SHUT_RD if self.receiving else socket.SHUT_RDWR)

    def recv(self, *args: Any) -> bytes:
        """Receive. Raises TooSlow if the worker has ended it in the middle of a request."""
        self.reads += 1
        if self.reads % READS_IN_A_ROW == 0:
            concurrency.yield_to_loop(self.fileno())
        self.receiving, self.waiting_since = True, self.clock.monotonic()
        try:
            data: bytes = super().recv(*args)
        except OSError:
            if not self.ended:
                raise
        self.receiving, self.waiting_since = False, math.inf
        if self.ended:
            data = b""
            if not self.idle:
                raise TooSlow
        elif self.idle:
            self.idle, self.arrived = False, self.clock.monotonic()
            self.set_deadline(HEAD_SECONDS)
        return data

    def sendall(self, data: Any, *_: Any) -> None:
        """Send, or hold it back while the rest of the answer is made."""
        if self.held is not None:
            self.held.append(data)
            return
        self.sending, self.waiting_since = True, self.clock.monotonic()
        self.set_deadline(SENDING_SECONDS)
        try:
            super().sendall(data)
        except OSError as error:
            raise BrokenPipeError(errno.EPIPE, "the client does not receive its answer") from error
        self.sending, self.answered, self.waiting_since, self.deadline = False, True, math.inf, math.inf

    def send_held(self) -> None:
        """The answer is complete: send what was held back, in one piece."""
        held, self.held, self.request = self.held, None, None
        if held:
            self.sendall(b"".join(held))

    def close(self) -> None:
        """Reset it if its client does not read; else read on, so that the last answer is not lost (RFC 9112, 9.6)."""
        with suppress(OSError):
            if self.sending:
                self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif self.answered and not self.evicted:
                self.shutdown(socket.SHUT_WR)
                self.set_deadline(CLOSING_SECONDS)
                self.receiving, self.waiting_since, left = True, self.clock.monotonic(), CLOSING_BYTES
                while left > 0 and (data := super().recv(65536)):
                    left -= len(data)
        super().close()


def evict_longest_waiting(clients: Iterable[ClientSocket]) -> None:
    """End the client that we have waited for longest. If the application works for every client, none is ended."""
    waiting = [client for client in clients if client.waiting_since < math.inf and not client.evicted]
    if waiting:
        oldest = min(waiting, key=lambda client: client.waiting_since)
        oldest.evicted = True
        oldest.end()
