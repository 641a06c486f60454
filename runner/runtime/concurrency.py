"""How we wait for an answer, for the next try, for work that blocks: by a thread, or by a greenlet.

A thread has nothing else to do meanwhile. But where many of them share an interpreter, most of their switches only hand
its lock to each other, from core to core: that took a tenth of what the sidecar spends on a job, and half of what a
function does. So a worker of either has one thread, a greenlet for each command or connection, and gevent's loop, in
which all that they wait for comes together.

The code is the same for both, and calls what is here (and `runner.drivers.http.transfers`). Deadlines come with the
clock that they are on, which is read only where something has to be waited for. A greenlet yields to the
loop at these calls and at no others: what stands between two of them is never interrupted, no lock may be held across
one, and whatever blocks without `run_in_thread` keeps every other greenlet waiting.
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
    from runner.runtime.clock import Deadline  # which is made of `pause`

log = logging.getLogger("orchestrator.waiting")

_P = ParamSpec("_P")
_T = TypeVar("_T")

READ, WRITE = 1, 2
"""What a socket is to be ready for, in the words of gevent's loop."""

_LOOK_SECONDS = 0.02
"""How often a greenlet looks whether a thread is done."""

_NO_FILES_SECONDS = 0.25
"""Until the next try to accept, where no more files can be opened."""

_TIMEVAL = struct.Struct("ll")  # seconds, microseconds: struct timeval of SO_RCVTIMEO and SO_SNDTIMEO in socket(7)

_here = threading.local()


def cooperate(threads: int) -> None:
    """From now on, in this thread, greenlets wait and the thread goes on; `threads` more are for work that blocks."""
    import gevent  # only workers need it

    _here.hub = gevent.get_hub()
    _here.hub.threadpool.maxsize = threads
    _here.current = gevent.getcurrent


def hub() -> Any:
    """gevent's hub, where greenlets wait; None where the thread does."""
    return getattr(_here, "hub", None)


def pause(seconds: float) -> None:
    """Do nothing for so long: what `SystemClock.sleep` is."""
    if hub() is None:
        time.sleep(seconds)
    else:
        import gevent

        gevent.sleep(seconds)


def run_in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` gives, which may block: by files, locks, other processes."""
    if hub() is None:
        return work(*args, **kwargs)
    done: _T = hub().threadpool.apply(work, args, kwargs)
    return done


def start_thread(work: Callable[[], _T]) -> Callable[[Deadline], _T]:
    """Have a thread of its own do `work`, which may take any time, and even hang.

    What this gives waits for what `work` gives, in any thread or greenlet and as often as one likes. It raises
    TimeoutError where there is nothing by the deadline; the work goes on all the same.
    """
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    def wait(deadline: Deadline) -> _T:
        while hub() is not None and not done.done() and deadline.left > 0:
            pause(_LOOK_SECONDS)
        return done.result(max(deadline.left, 0))

    threading.Thread(target=run, daemon=True).start()
    return wait


def until_ready(number: int, event: int, seconds: float = math.inf) -> None:
    """Until the socket of that number is ready, for greenlets alone. Raises TimeoutError where it is not in time."""
    here = _here.hub
    wake = _here.current().switch
    watcher = here.loop.io(number, event)
    watcher.start(wake, True)
    timer = None
    try:
        if seconds != math.inf:
            timer = here.loop.timer(max(seconds, 0))
            timer.start(wake, False, update=True)  # else it would begin when the loop last looked at the clock
        if not here.switch():
            raise TimeoutError
    finally:
        watcher.stop()
        watcher.close()
        if timer is not None:
            timer.stop()
            timer.close()


def yield_to_loop(number: int) -> None:
    """Let the others go on, for a greenlet that finds the socket of that number ready again and again.

    A pause of no length would not do: gevent has such callbacks run before it looks at any socket.
    """
    with suppress(TimeoutError):
        until_ready(number, READ, 0)


def accept(listener: socket.socket) -> tuple[socket.socket, Any] | None:
    """Whoever is next at a listener that doesn't block, with their address; None where nobody is, or can be let in.

    The latter is said, and followed by a pause: a listener stays ready for as long as no file can be opened.
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
    """What comes next, at most so many bytes; empty at the end. Raises TimeoutError where nothing does in time.

    Where the thread waits, the socket has to be one that blocks.
    """
    if hub() is None:
        _bound(connection, socket.SO_RCVTIMEO, deadline)
        try:
            return connection.recv(size)
        except BlockingIOError as error:  # what the kernel makes of a wait too long
            raise TimeoutError from error
    while True:
        try:
            return connection.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            until_ready(connection.fileno(), READ, deadline.left)


def send(connection: socket.socket, data: bytes, deadline: Deadline) -> None:
    """All of `data`, most often in one piece. Raises TimeoutError where the other side has not taken it in time."""
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
    """Let no receive, or no send, wait longer than that.

    Unlike `settimeout`, which sets the socket's mode as well and polls before each call, this never lets go of the
    interpreter's lock, for which a dozen threads stand in line.
    """
    seconds = deadline.left
    if seconds <= 0:
        raise TimeoutError
    connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000) or 1))
