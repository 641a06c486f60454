"""Running several things at once, and waiting for each other: threads, greenlets, or the steps of a simulation.

Like `Clock`, it is built where a process starts and passed down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Signal(Protocol):
    """A flag that tasks wait for, as threading.Event."""

    def set(self) -> None:
        """Raise the flag and wake all that wait."""

    def clear(self) -> None:
        """Lower the flag."""

    def is_set(self) -> bool:
        """Whether the flag is up."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, at most `timeout` seconds. Returns whether it is."""


class Tasks(Protocol):
    """Starts tasks, and makes the signals that they wait for.

    A `threading.Lock` may be used between tasks if none waits (for a signal, the clock or a server) while holding it.
    """

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Run it beside the others. The process does not wait for it at its end."""

    def signal(self) -> Signal:
        """A new flag, lowered."""


class Threads:
    """Each task is a daemon thread."""

    def __repr__(self) -> str:
        return "Threads()"

    def start(self, name: str, run: Callable[[], None]) -> None:
        """See Tasks.start."""
        threading.Thread(target=run, name=name, daemon=True).start()

    def signal(self) -> Signal:
        """See Tasks.signal."""
        return threading.Event()


class Greenlets:
    """Each task is a greenlet of this thread, which called `concurrency.cooperate`."""

    def __repr__(self) -> str:
        return "Greenlets()"

    def start(self, name: str, run: Callable[[], None]) -> None:
        """See Tasks.start."""
        import gevent  # only workers need it

        gevent.spawn(run)

    def signal(self) -> Signal:
        """See Tasks.signal."""
        from gevent.event import Event

        event: Signal = Event()
        return event
