"""The sidecar's client: one command, one connection, one answer within the deadline.

A connection for each command costs more CPU than a kept one, 30 to 50 µs on both sides together (docs/performance.md).
In return, any worker with a free greenlet accepts the next connection, so a busy or stopped worker delays no other's
commands, the load spreads evenly, and a worker that dies loses only the commands that it has in flight. The socket's
own backlog is the bounded queue: when it is full, connecting fails at once, and that is `busy`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from runner.errors import Busy, Internal, Timeout, Unavailable
from runner.jobs import JobResult
from runner.payloads import Request, RequestPolicy
from runner.runtime import concurrency
from runner.runtime.clock import Clock, Deadline
from runner.sidecar import frames

SOCKET_VARIABLE = "ORCHESTRATOR_SOCKET"
DEFAULT_SOCKET = "/run/orchestrator/runner.sock"
POLICY_LIFETIME = 5.0
"""Seconds for which the request policy is cached; a changed configuration reaches every function within this time."""

_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
F = TypeVar("F")


class Client:
    """A client of the sidecar at `path`. Thread-safe; holds no connection between calls."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._policy: tuple[float, RequestPolicy] | None = None
        self._lock = threading.Lock()  # never held during a wait
        self._pinging: Callable[[Deadline], frames.Pong] | None = None

    def __repr__(self) -> str:
        return f"Client({self._path!r})"

    def submit(
        self, request_type: str, request: Request, deadline: float, trace_id: str, traceparent: str = ""
    ) -> tuple[JobResult, ...]:
        """Submit the request. `deadline` is on the monotonic clock. Raises OrchestratorError, nothing else."""
        frame = frames.submission(request_type, request, deadline, trace_id, traceparent)
        return self._call(frame, frames.Accepted, deadline).jobs

    def ping(self, deadline: float) -> frames.Pong:
        """Raises Unavailable unless the sidecar and its drivers are ready.

        Each ping has the drivers send requests to their clusters. So there is one at a time, and callers that come
        meanwhile share its result.
        """
        with self._lock:
            pinging = self._pinging = self._pinging or concurrency.start_thread(lambda: self._ping(deadline))
        try:
            return pinging(Deadline(deadline, self._clock))
        except TimeoutError as error:
            raise Timeout("the runner did not answer within the deadline; repeat the request") from error

    def _ping(self, deadline: float) -> frames.Pong:
        try:
            return self._call(frames.Ping(deadline=deadline), frames.Pong, deadline)
        finally:
            with self._lock:
                self._pinging = None

    def policy(self, deadline: float) -> RequestPolicy:
        """The request policy, at most `POLICY_LIFETIME` seconds old."""
        known = self._policy
        if known is None or self._clock.monotonic() > known[0]:
            policy = self._call(frames.GetPolicy(), frames.Policy, deadline).policy
            known = self._policy = (self._clock.monotonic() + POLICY_LIFETIME, policy)
        return known[1]

    def _call(self, frame: frames.Frame, expected: type[F], at: float) -> F:
        request = frames.encode(frame)
        deadline = Deadline(at, self._clock)
        try:
            with connect(self._path) as connection:
                if concurrency.hub() is None:
                    connection.setblocking(True)
                concurrency.send(connection, request, deadline)
                return expect(frames.decode_reply(receive_frame(connection, deadline)), expected)
        except TimeoutError as error:
            raise Timeout("the runner did not answer within the deadline; repeat the request") from error
        except OSError as error:
            raise Unavailable(explain(error, self._path)) from error


def expect(reply: frames.Reply, expected: type[F]) -> F:
    """The reply, if it is of that type. Raises the error in a refusal, and Internal for a reply of another type."""
    if isinstance(reply, frames.Refused):
        raise reply.error()
    if not isinstance(reply, expected):
        raise Internal(f"the runner answered {type(reply).__name__}, not {expected.__name__}; run one release of both")
    return reply


def connect(path: str) -> socket.socket:
    """A non-blocking connection. Connecting succeeds or fails at once.

    Raises Busy if the backlog is full, which is EAGAIN for a non-blocking socket (connect(2)); else OSError.
    """
    # Created as non-blocking: changing the mode later is a system call, which releases the interpreter's lock.
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        refuse_stranger(connection)
    except BlockingIOError as error:
        connection.close()
        raise Busy("every worker is occupied and the queue is full; repeat the request") from error
    except BaseException:
        connection.close()
        raise
    return connection


def explain(error: OSError, path: str) -> str:
    """The error text for a failed exchange: what happened, and what to do next."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no runner listens at {path}; start one with `python -m runner serve`"
    if isinstance(error, PermissionError):
        return f"the socket {path} belongs to another user; run functions and runner as one user"
    if isinstance(error, ConnectionError):
        return f"the runner went away with the request in flight ({error}); repeat the request"
    return f"the runner cannot be reached at the moment ({error}); repeat the request"


def receive_frame(connection: socket.socket, deadline: Deadline) -> bytes:
    """The body of one frame; most arrive in one piece.

    Raises Unavailable if the connection ends early, TimeoutError if the frame is not complete by the deadline.
    """
    received = _some(connection, 65536, deadline)
    while len(received) < frames.HEADER.size:
        received += _some(connection, frames.HEADER.size - len(received), deadline)
    end = frames.HEADER.size + frames.length(received[: frames.HEADER.size])
    if len(received) >= end:
        return received[frames.HEADER.size : end]
    pieces = bytearray(received)
    while len(pieces) < end:
        pieces += _some(connection, min(end - len(pieces), 1 << 20), deadline)
    return bytes(pieces[frames.HEADER.size :])


def _some(connection: socket.socket, size: int, deadline: Deadline) -> bytes:
    received = concurrency.receive(connection, size, deadline)
    if not received:
        raise Unavailable("the runner went away with the request in flight; repeat the request")
    return received


def refuse_stranger(connection: socket.socket) -> None:
    """Raises PermissionError unless the peer is a process of this process's user or of root."""
    (_, uid) = peer(connection)
    if uid not in (os.geteuid(), 0):
        raise PermissionError(f"the peer of the socket is user {uid}, not user {os.geteuid()} or root")


def peer(connection: socket.socket) -> tuple[int, int]:
    """The peer's process id and user id. The process of a listening peer is the one that called listen(2) (unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    (pid, uid, _) = _PEER.unpack(credentials)
    return pid, uid
