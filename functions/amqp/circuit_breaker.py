"""A circuit breaker: holds messages back while the sidecar does not answer.

Without it, a long outage would send every message of a backlog through the delay queues repeatedly. So after the error
`unavailable`, the breaker requests the sidecar's request policy, which needs no cluster. If the sidecar answers, the
breaker closes: one cluster's failure must not hold back another's messages. If not, the messages in flight wait until
it answers, and the broker keeps the rest.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

from functions.amqp.connection import FIRST_PAUSE
from runner.errors import OrchestratorError, Unavailable
from runner.runtime.backoff import Backoff
from runner.runtime.clock import Clock
from runner.sidecar.client import Client

log = logging.getLogger("orchestrator.amqp")

HOLD_SECONDS = 300.0
"""A message is held for so long at most; the broker's limit is 30 min by default (`consumer_timeout`)."""

ANSWER_SECONDS = 3.0
LONGEST_PAUSE = 2.0


class CircuitBreaker:
    """Closed while the sidecar answers, and messages pass; open while it does not."""

    def __init__(self, socket_path: str, clock: Clock, random: Random) -> None:
        self._path = socket_path
        self._clock = clock
        self._random = random
        self._closed = asyncio.Event()
        self._closed.set()
        self._tripped = asyncio.Event()
        self._abandoned = False

    def __repr__(self) -> str:
        return f"CircuitBreaker({'closed' if self._closed.is_set() else 'open'})"

    async def until_closed(self) -> None:
        """Wait until the sidecar answers. Raises Unavailable after HOLD_SECONDS, and CancelledError once abandoned."""
        if self._closed.is_set():
            return
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._closed.wait()
        except TimeoutError as error:
            raise Unavailable(f"the sidecar has not answered for {HOLD_SECONDS:.0f} s; start it") from error
        if self._abandoned:
            raise asyncio.CancelledError

    def trip(self) -> None:
        """Open: hold messages back until the sidecar has answered."""
        self._closed.clear()
        self._tripped.set()

    def abandon(self) -> None:
        """End every wait with CancelledError; the broker returns the messages to their queues."""
        if not self._closed.is_set():
            self._abandoned = True
            self._closed.set()

    async def run(self) -> None:
        """After each trip, request the policy until the sidecar answers. Runs until cancelled."""
        while True:
            await self._tripped.wait()
            self._tripped.clear()
            backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
            while not await asyncio.to_thread(self._answers):
                await asyncio.sleep(backoff.next())
            self._closed.set()

    def _answers(self) -> bool:
        try:
            client = Client(self._path, self._clock)  # a new one, which has no policy cached
            client.policy(self._clock.monotonic() + ANSWER_SECONDS)
        except OrchestratorError as error:
            log.warning("messages are held back until the sidecar answers: %s", error.detail)
            return False
        return True
