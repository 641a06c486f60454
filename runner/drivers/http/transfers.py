"""Performs libcurl requests: one at a time in a thread, or concurrently in greenlets.
greenlet ─▶ perform ─▶ CurlMulti ─▶ sockets and timers of gevent's loop
   ▲                                            │
   └────────── switched to at the end ◀─────────┘
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import pycurl

from runner.runtime import concurrency
from runner.runtime.clock import Clock


class Transfers(Protocol):
    """Performs requests and keeps their connections for reuse."""

    def perform(self, handle: Any) -> None:
        """Perform the request that the handle was set up for. Raises pycurl.error."""

    def retire(self) -> None:
        """Close the connections after the last running request has ended. No request may follow."""


def transfers(clock: Clock) -> Transfers:
    """Transfers for the calling thread only."""
    hub = concurrency.hub()
    return _Blocking() if hub is None else _Cooperative(hub, clock)


class _Blocking:
    """Blocks the thread. Each handle keeps its own connection."""

    def perform(self, handle: Any) -> None:
        handle.perform()

    def retire(self) -> None:
        """Nothing to do: a connection is closed with its handle."""


class _Cooperative:
    """Runs the requests of many greenlets concurrently on one event loop. They share the connections.

    libcurl calls `_watch` and `_set_timeout` to say which sockets and times to wait for. `_advance` calls libcurl when
    a socket is ready or the time has passed: libcurl-multi(3). It does so without a request as well: libcurl waits for
    the server before it closes a connection that it no longer needs.
    """

    def __init__(self, hub: Any, clock: Clock) -> None:
        from gevent import getcurrent

        self._hub = hub
        self._monotonic = clock.monotonic
        self._current = getcurrent
        self._waiting: dict[Any, Any] = {}
        self._watchers: dict[int, Any] = {}
        self._timeout_at = self._timer_at = math.inf
        self._timer: Any = None
        self._retired = self._closed = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timeout)

    def perform(self, handle: Any) -> None:
        self._waiting[handle] = self._current()
        self._multi.add_handle(handle)
        try:
            self._advance(pycurl.SOCKET_TIMEOUT, 0)  # start now, not in the loop's next iteration
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
        if not self._waiting and not self._closed:
            self._closed = True
            self._multi.close()

    def _advance(self, number: int, events: int) -> None:
        """Pass an event (socket ready or timeout) to libcurl, then schedule the greenlets whose requests have ended."""
        if self._closed:
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
        """Watch a socket for reading (1), writing (2) or both (3), or stop. gevent uses the same numbers."""
        if watcher := self._watchers.pop(number, None):
            watcher.stop()
            watcher.close()
        if what != pycurl.POLL_REMOVE:
            watcher = self._watchers[number] = self._hub.loop.io(number, what)
            watcher.start(self._advance, number, what)

    def _set_timeout(self, milliseconds: int) -> None:
        self._timeout_at = math.inf if milliseconds < 0 else self._monotonic() + milliseconds / 1000

    def _start_timer(self) -> None:
        """Start the timer unless a running one fires earlier. Most requests end long before their timeout."""
        if self._timer_at <= self._timeout_at:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._timer_at = self._timeout_at
        self._timer = self._hub.loop.timer(max(self._timeout_at - self._monotonic(), 0))
        self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._timer_at = math.inf
        if self._monotonic() >= self._timeout_at:
            self._timeout_at = math.inf
            self._advance(pycurl.SOCKET_TIMEOUT, 0)
        else:
            self._start_timer()
