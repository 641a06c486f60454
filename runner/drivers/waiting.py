"""How a command waits: for an answer, for its next try, for work that blocks. By its thread, or by a greenlet.

A thread has nothing else to do meanwhile. But where 32 of them share an interpreter, most of their switches only hand
its lock to each other; that took a tenth of what the sidecar spends on a job. So a worker of its pool has one thread, a
greenlet for each command, and gevent's loop, in which all that they wait for comes together.

Whichever it is, the code is the same, and calls what is here (and `runner.drivers.transfers`). A greenlet gives way at
these calls and at no others: what stands between two of them is never interrupted, no lock may be held across one, and
whatever blocks without `offload` keeps every command of its worker waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_here = threading.local()


def cooperate(threads: int) -> None:
    """From now on, in this thread, greenlets wait and the thread goes on; `threads` more are for work that blocks."""
    import gevent  # only the pool's workers need it

    _here.hub = gevent.get_hub()
    _here.hub.threadpool.maxsize = threads


def hub() -> Any:
    """gevent's hub, where greenlets wait; None where the thread does."""
    return getattr(_here, "hub", None)


def pause(seconds: float) -> None:
    """Do nothing for so long."""
    if hub() is None:
        time.sleep(seconds)
    else:
        import gevent

        gevent.sleep(seconds)


def offload(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` gives, which may block: by files, locks, other processes."""
    if hub() is None:
        return work(*args, **kwargs)
    done: _T = hub().threadpool.apply(work, args, kwargs)
    return done
