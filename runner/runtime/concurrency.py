"""Waiting for sockets, time and blocking work, in a thread or in a greenlet.

Many threads in one interpreter spend most of their switches on passing its lock from core to core. That took a tenth of
the CPU of a job in the sidecar, and half of the CPU of a request in a function. So a worker of either has one thread
with gevent's loop, and a greenlet for each command or connection. Other processes use plain threads.

Code that waits is the same for both, and waits only by the functions here and in `runner.drivers.http.transfers`. A
deadline has its clock, which is read only if there is something to wait for. A greenlet yields to the loop in these
functions and nowhere else. So code between two such calls is never interrupted, no lock may be held across a call, and
work that blocks outside `run_in_thread` blocks every other greenlet.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from runner.runtime.clock import Deadline  # that module imports this one

log = logging.getLogger("orchestrator.waiting")

_P = ParamSpec("_P")
_T = TypeVar("_T")

READ, WRITE = 1, 2
"""What a socket is to be ready for: the flags of gevent's loop."""

_POLL_SECONDS = 0.02
"""Between two checks of a greenlet whether a thread is done."""

_NO_FILES_SECONDS = 0.25
"""Until the next attempt to accept, if no file descriptor is free."""

_TIMEVAL = struct.Struct("ll")  # seconds, microseconds: struct timeval of SO_RCVTIMEO and SO_SNDTIMEO in socket(7)

_here = threading.local()


def cooperate(threads: int) -> None:
    """Use greenlets in this thread from now on, with a pool of `threads` threads for work that blocks."""
    import gevent  # only workers need it

    _here.hub = gevent.get_hub()
    _here.hub.threadpool.maxsize = threads
    _here.current = gevent.getcurrent


def hub() -> Any:
    """gevent's hub if this thread uses greenlets, else None."""
    return getattr(_here, "hub", None)


def pause(seconds: float) -> None:
    """Wait for so long. `SystemClock.sleep` is this function."""
    if hub() is None:
        time.sleep(seconds)
    else:
        import gevent

        gevent.sleep(seconds)


def run_in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The result of `work`, which may block on files, locks or other processes."""
    if hub() is None:
        return work(*args, **kwargs)
    done: _T = hub().threadpool.apply(work, args, kwargs)
    return done


def start_thread(work: Callable[[], _T]) -> Callable[[Deadline], _T]:
    """Run `work` in a new thread. It may take any time, or never end.

    Returns a function that waits for the result of `work`. Any thread or greenlet may call it, and more than once. It
    raises TimeoutError if there is no result by the deadline; the work goes on.
    """
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    def wait(deadline: Deadline) -> _T:
        while hub() is not None and not done.done() and deadline.left > 0:
            pause(_POLL_SECONDS)
        return done.result(max(deadline.left, 0))

    threading.Thread(target=run, daemon=True).start()
    return wait


def until_ready(number: int, event: int, seconds: float = math.inf) -> None:
    """Wait until the socket with this descriptor is ready. For greenlets only. Raises TimeoutError."""
    here = _here.hub
    wake = _here.current().switch
    watcher = here.loop.io(number, event)
    watcher.start(wake, True)
    timer = None
    try:
        if seconds != math.inf:
            timer = here.loop.timer(max(seconds, 0))
            timer.start(wake, False, update=True)  # else it would start at the loop's cached time
        if not here.switch():
            raise TimeoutError
    finally:
        watcher.stop()
        watcher.close()
        if timer is not None:
            timer.stop()
            timer.close()


def yield_to_loop(number: int) -> None:
    """Let other greenlets run; for a greenlet whose socket is always ready. `number` is the socket's descriptor.

    A sleep of 0 s is not enough: gevent would resume the greenlet before it polls any socket.
    """
    with suppress(TimeoutError):
        until_ready(number, READ, 0)


def accept(listener: socket.socket) -> tuple[socket.socket, Any] | None:
    """The next connection of a non-blocking listener, and its address; None if none is waiting or can be accepted.

    A failure to accept is logged and followed by a pause, since the listener stays ready while no file can be opened.
    """
    try:
        return listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return None
    except OSError as error:
        advice = "; raise the limit on open files" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
        log.error("no connection could be accepted: %s%s", error, advice)
        pause(_NO_FILES_SECONDS)
        return None


def receive(connection: socket.socket, size: int, deadline: Deadline) -> bytes:
    """At most `size` bytes; empty at the connection's end. Raises TimeoutError if none arrive by the deadline.

    Without greenlets, the socket must be a blocking one.
    """
    if hub() is None:
        _bound(connection, socket.SO_RCVTIMEO, deadline)
        try:
            return connection.recv(size)
        except BlockingIOError as error:  # the kernel's error after SO_RCVTIMEO
            raise TimeoutError from error
    while True:
        try:
            return connection.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            until_ready(connection.fileno(), READ, deadline.left)


def send(connection: socket.socket, data: bytes, deadline: Deadline) -> None:
    """Send all of `data`. Raises TimeoutError if the peer has not received it by the deadline."""
    rest = memoryview(data)
    while rest:
        rest = rest[_send_some(connection, rest, deadline) :]


def _send_some(connection: socket.socket, data: memoryview, deadline: Deadline) -> int:
    if hub() is None:
        _bound(connection, socket.SO_SNDTIMEO, deadline)
        try:
            return connection.send(data)
        except BlockingIOError as error:
            raise TimeoutError from error
    try:
        return connection.send(data, socket.MSG_DONTWAIT)
    except BlockingIOError:
        until_ready(connection.fileno(), WRITE, deadline.left)
        return 0


def _bound(connection: socket.socket, option: int, deadline: Deadline) -> None:
    """Bound the socket's next receive or send by the deadline.

    `settimeout` would also change the socket's mode and poll before each call. Each of these system calls releases the
    interpreter's lock, for which a dozen threads may be waiting.
    """
    seconds = deadline.left
    if seconds <= 0:
        raise TimeoutError
    connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000) or 1))
