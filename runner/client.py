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
from runner.errors import Busy, Internal, Timeout, Unavailable
from runner.jobs import Placed
from runner.payloads import Request, Terms

SOCKET_VARIABLE = "ORCHESTRATOR_SOCKET"
DEFAULT_SOCKET = "/run/orchestrator/runner.sock"
TERMS_LIFETIME = 5.0
"""Seconds for which the terms are remembered: so long until a changed configuration reaches every function."""

_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
_TIMEVAL = struct.Struct("ll")  # seconds, microseconds: struct timeval of SO_RCVTIMEO and SO_SNDTIMEO in socket(7)
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
                self._connect(connection)
                bound_waits(connection, deadline - time.monotonic())
                connection.sendall(request)
                return frames.decode_reply(receive_frame(connection, deadline))
            except TimeoutError as error:
                raise Timeout("the runner did not answer within the deadline; repeat the request") from error
            except OSError as error:
                raise Unavailable(self._explain(error)) from error

    def _connect(self, connection: socket.socket) -> None:
        """Connect at once or not at all: a full backlog is EAGAIN to a socket that does not block (connect(2))."""
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except BlockingIOError as error:
            raise Busy("every worker is occupied and the queue is full; repeat the request") from error
        connection.setblocking(True)
        refuse_stranger(connection)

    def _explain(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"no runner listens at {self._path}; start one with `python -m runner serve`"
        if isinstance(error, PermissionError):
            return f"the socket {self._path} belongs to another user; run functions and runner as one user"
        return f"the runner went away while it had the request in hand ({error}); repeat the request"


def bound_waits(connection: socket.socket, seconds: float) -> None:
    """Let no send or receive wait longer than that: the kernel's own timeouts, which need no poll(2) before each call.

    Raises TimeoutError where nothing is left.
    """
    if seconds <= 0:
        raise TimeoutError
    wait = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000) or 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)


def receive_frame(connection: socket.socket, deadline: float) -> bytes:
    """The body of one frame; most arrive in one piece.

    Raises Unavailable where the other side ends early, TimeoutError where it is silent too long.
    """
    received = _receive(connection, 65536)
    while len(received) < frames.HEADER.size:
        received += _receive_more(connection, frames.HEADER.size - len(received), deadline)
    end = frames.HEADER.size + frames.length(received[: frames.HEADER.size])
    if len(received) >= end:
        return received[frames.HEADER.size : end]
    pieces = bytearray(received)
    while len(pieces) < end:
        pieces += _receive_more(connection, min(end - len(pieces), 1 << 20), deadline)
    return bytes(pieces[frames.HEADER.size :])


def _receive_more(connection: socket.socket, size: int, deadline: float) -> bytes:
    bound_waits(connection, deadline - time.monotonic())
    return _receive(connection, size)


def _receive(connection: socket.socket, size: int) -> bytes:
    try:
        received = connection.recv(size)
    except BlockingIOError as error:  # what SO_RCVTIMEO makes of a silence
        raise TimeoutError from error
    if not received:
        raise Unavailable("the runner went away while it had the request in hand; repeat the request")
    return received


def refuse_stranger(connection: socket.socket) -> None:
    """Raises PermissionError unless the other side is our own user or root (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    (_, uid, _) = _PEER.unpack(credentials)
    if uid not in (os.geteuid(), 0):
        raise PermissionError(f"the other side of the socket is user {uid}")
