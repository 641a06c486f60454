"""The sidecar's client: one command, one connection, one answer within the deadline.

A connection for each command costs about 0.1 ms more than a kept one, and buys what a pool of kept ones cannot give:
the kernel hands each connection to whichever worker thread has waited longest, so the load spreads evenly whoever
connects, and a worker that dies takes along only the commands in its hands. The socket's own backlog is the bounded
queue: when it is full, connecting fails at once, and that is `busy`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from typing import TypeVar

import msgspec

from runner import frames
from runner.errors import Busy, Internal, OrchestratorError, Timeout, Unavailable
from runner.jobs import Placed
from runner.payloads import Request, Terms

SOCKET_VARIABLE = "ORCHESTRATOR_SOCKET"
DEFAULT_SOCKET = "/run/orchestrator/runner.sock"
TERMS_LIFETIME = 5.0
"""Seconds for which the terms are remembered: so long until a changed configuration reaches every function."""

_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
F = TypeVar("F")


class Client:
    """Talks to the sidecar at `path`. Thread-safe; holds no connection between calls."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._terms: tuple[float, Terms] | None = None
        self._asking = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self._path!r})"

    def submit(self, request_type: str, request: Request, deadline: float, trace_id: str) -> tuple[Placed, ...]:
        """Have the request carried out. `deadline` is on the monotonic clock. Raises our errors, never others."""
        encoded = msgspec.json.encode(request)
        frame = frames.Submit(request_type=request_type, request=encoded, deadline=deadline, trace_id=trace_id)
        return self._call(frame, frames.Accepted, deadline).jobs

    def ping(self, deadline: float) -> frames.Pong:
        """Raises Unavailable unless the sidecar and its drivers are ready."""
        return self._call(frames.Ping(deadline=deadline), frames.Pong, deadline)

    def terms(self, deadline: float) -> Terms:
        """The terms on which requests are taken, at most `TERMS_LIFETIME` old."""
        known = self._terms
        if known is None or time.monotonic() > known[0]:
            with self._asking:
                known = self._terms
                if known is None or time.monotonic() > known[0]:
                    known = self._terms = (time.monotonic() + TERMS_LIFETIME, self._ask_terms(deadline))
        return known[1]

    def _ask_terms(self, deadline: float) -> Terms:
        return self._call(frames.AskTerms(), frames.TheTerms, deadline).terms

    def _call(self, frame: frames.Frame, expected: type[F], deadline: float) -> F:
        reply = self._exchange(frames.encode(frame), deadline)
        if isinstance(reply, frames.Refused):
            raise reply.error()
        if not isinstance(reply, expected):
            raise Internal(f"the runner answered {type(reply).__name__} to {type(frame).__name__}")
        return reply

    def _exchange(self, request: bytes, deadline: float) -> frames.Reply:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                self._connect(connection, deadline)
                connection.sendall(request)
                size = frames.length(receive(connection, frames.HEADER.size, deadline))
                return frames.decode_reply(receive(connection, size, deadline))
            except OrchestratorError:
                raise
            except TimeoutError as error:
                raise Timeout("the runner did not answer within the deadline; repeat the request") from error
            except BlockingIOError as error:  # EAGAIN from connect(2): the backlog is full
                raise Busy("every worker is occupied and the queue is full; repeat the request") from error
            except OSError as error:
                raise Unavailable(self._explain(error)) from error

    def _connect(self, connection: socket.socket, deadline: float) -> None:
        connection.settimeout(_left(deadline))
        connection.connect(self._path)
        refuse_stranger(connection)

    def _explain(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"no runner listens at {self._path}; start one with `python -m runner serve`"
        if isinstance(error, PermissionError):
            return f"the socket {self._path} belongs to another user; run functions and runner as one user"
        return f"the runner went away while it had the request in hand ({error}); repeat the request"


def receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Exactly `size` bytes. Raises Unavailable where the other side ends early, TimeoutError past the deadline."""
    received = bytearray()
    while len(received) < size:
        connection.settimeout(_left(deadline))
        chunk = connection.recv(min(size - len(received), 1 << 20))
        if not chunk:
            raise Unavailable("the runner went away while it had the request in hand; repeat the request")
        received += chunk
    return bytes(received)


def refuse_stranger(connection: socket.socket) -> None:
    """Raises PermissionError unless the other side is our own user or root (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    (_, uid, _) = _PEER.unpack(credentials)
    if uid not in (os.geteuid(), 0):
        raise PermissionError(f"the other side of the socket is user {uid}")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
