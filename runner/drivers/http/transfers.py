"""Requests of libcurl's, to their end: one in a thread, or as many as there are greenlets that wait for one.

greenlet ─▶ perform ─▶ CurlMulti ─▶ sockets and timers of gevent's loop
   ▲                                            │
   └───────────── woken by its end ◀────────────┘
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import pycurl

from runner.runtime import concurrency
from runner.runtime.clock import Clock


class Transfers(Protocol):
    """Requests, and the connections that they leave for each other."""

    def perform(self, handle: Any) -> None:
        """The request that the handle was set up for. Raises pycurl.error."""

    def retire(self) -> None:
        """There will be no other request: close the connections, once the last one has ended."""


def transfers(clock: Clock) -> Transfers:
    """For use in this thread alone."""
    hub = concurrency.hub()
    return _Blocking() if hub is None else _Cooperative(hub, clock)


class _Blocking:
    """The thread waits. Each handle keeps a connection of its own."""

    def perform(self, handle: Any) -> None:
        handle.perform()

    def retire(self) -> None:
        """Connections end with their handles."""


class _Cooperative:
    """Greenlets wait, for as many requests at once; the connections are common to them.

    libcurl says what it wants to be told (`_watch`, `_set_time`), and is told so (`_go_on`): libcurl-multi(3).
    """

    def __init__(self, hub: Any, clock: Clock) -> None:
        from gevent import getcurrent

        self._hub = hub
        self._monotonic = clock.monotonic
        self._current = getcurrent
        self._waiting: dict[Any, Any] = {}
        self._watchers: dict[int, Any] = {}
        self._due = self._fires = math.inf
        self._timer: Any = None
        self._retired = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_time)

    def perform(self, handle: Any) -> None:
        self._waiting[handle] = self._current()
        self._multi.add_handle(handle)
        try:
            self._go_on(pycurl.SOCKET_TIMEOUT, 0)  # begin, rather than at the loop's next turn
            failure = self._hub.switch()
        finally:
            self._waiting.pop(handle, None)
            self._multi.remove_handle(handle)
            if self._retired:
                self.retire()
        if failure:
            raise pycurl.error(*failure)

    def retire(self) -> None:
        self._retired = True
        if not self._waiting:
            self._multi.close()

    def _go_on(self, number: int, events: int) -> None:
        """Tell libcurl of a socket that is ready, or that time has passed, and wake whose request has ended."""
        if not self._waiting:
            return
        self._multi.socket_action(number, events)
        left = True
        while left:
            left, ended, failed = self._multi.info_read()
            for handle in ended:
                self._hub.loop.run_callback(self._waiting.pop(handle).switch, None)
            for handle, code, detail in failed:
                self._hub.loop.run_callback(self._waiting.pop(handle).switch, (code, detail))
        self._start_timer()

    def _watch(self, what: int, number: int, _multi: Any, _data: Any) -> None:
        """A socket is to be watched for reading (1), writing (2) or both, which gevent calls the same; or no more."""
        if watcher := self._watchers.pop(number, None):
            watcher.stop()
            watcher.close()
        if what != pycurl.POLL_REMOVE:
            watcher = self._watchers[number] = self._hub.loop.io(number, what)
            watcher.start(self._go_on, number, what)

    def _set_time(self, milliseconds: int) -> None:
        self._due = math.inf if milliseconds < 0 else self._monotonic() + milliseconds / 1000

    def _start_timer(self) -> None:
        """Unless one runs that fires before: most times that libcurl names are of requests that end long before."""
        if self._fires <= self._due:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._fires = self._due
        self._timer = self._hub.loop.timer(max(self._due - self._monotonic(), 0))
        self._timer.start(self._on_time)

    def _on_time(self) -> None:
        self._fires = math.inf
        if self._monotonic() >= self._due:
            self._due = math.inf
            self._go_on(pycurl.SOCKET_TIMEOUT, 0)
        else:
            self._start_timer()
