"""Holds messages back while there is no sidecar to hand them to.

Without it a long outage would send every message of a backlog round through the delay queues, again and again. So
after an `unavailable` the sidecar is asked a question that touches no cluster: if it answers, one cluster's trouble is
no reason to hold back another's messages; if not, those in hand wait until it does, and the broker keeps the rest.
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
"""A message is held for so long at most; the broker's own patience is 30 min by default (`consumer_timeout`)."""

ANSWER_SECONDS = 3.0
LONGEST_PAUSE = 2.0


class Gate:
    """Open, until somebody has found the sidecar gone."""

    def __init__(self, socket_path: str, clock: Clock, random: Random) -> None:
        self._path = socket_path
        self._clock = clock
        self._random = random
        self._open = asyncio.Event()
        self._open.set()
        self._doubted = asyncio.Event()
        self._abandoned = False

    def __repr__(self) -> str:
        return f"Gate({'open' if self._open.is_set() else 'closed'})"

    async def passed(self) -> None:
        """Wait until there is a sidecar. Raises Unavailable after HOLD_SECONDS, and CancelledError once abandoned."""
        if self._open.is_set():
            return
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._open.wait()
        except TimeoutError as error:
            raise Unavailable("the runner has not been there for a while") from error
        if self._abandoned:
            raise asyncio.CancelledError

    def close(self) -> None:
        """Let nothing through before the sidecar has answered."""
        self._open.clear()
        self._doubted.set()

    def abandon(self) -> None:
        """Those who wait give up: their messages go back to the queue, untried."""
        if not self._open.is_set():
            self._abandoned = True
            self._open.set()

    async def keep(self) -> None:
        """Ask the sidecar whenever it is in doubt, for ever."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
            while not await asyncio.to_thread(self._answers):
                await asyncio.sleep(backoff.next())
            self._open.set()

    def _answers(self) -> bool:
        try:
            client = Client(self._path, self._clock)  # a fresh one remembers no answer
            client.policy(self._clock.monotonic() + ANSWER_SECONDS)
        except OrchestratorError as error:
            log.warning("messages are held back: %s", error.detail)
            return False
        return True
