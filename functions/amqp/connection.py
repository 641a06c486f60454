"""A connection to the broker that is there again whenever it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from functions.amqp.settings import Settings
from functions.amqp.transport import Transport
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

FAILURES = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, asyncio.InvalidStateError)
"""What the library raises where the broker, the network or the channel is not as it should be."""

CONNECT_SECONDS, CLOSE_SECONDS = 15.0, 5.0
HEARTBEAT_SECONDS = 20
"""A broker that is silent for about three times as long is given up (aiormq)."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds before the next attempt: doubled each time, with jitter (see Backoff)."""

STEADY_SECONDS = 30.0
"""A connection that held so long was no failed attempt."""

Serve = Callable[[AbstractConnection], Awaitable[None]]


class Link:
    """One connection. While it is open `serve` runs on it; when either ends, so does the other, and it begins anew."""

    def __init__(self, name: str, settings: Settings, serve: Serve, random: Random) -> None:
        self._name = name
        self._settings = settings
        self._serve = serve
        self._random = random

    def __repr__(self) -> str:
        return f"Link({self._name}, {self._settings.broker})"

    async def keep(self) -> None:
        """For ever, until cancelled."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        while True:
            began = clock()
            try:
                await self._live()
            except FAILURES as error:
                if clock() - began > STEADY_SECONDS:
                    backoff.reset()
                pause = backoff.next()
                log.warning(
                    "no connection to %s for %s: %s; trying again in %.1f s",
                    self._settings.broker, self._name, describe(error), pause,
                )  # fmt: skip
                await asyncio.sleep(pause)

    async def _live(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._connect()
        try:
            log.info("connected to %s for %s", self._settings.broker, self._name)
            await first_of(self._serve(connection), connection.closing)
        finally:
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()

    async def _connect(self) -> AbstractConnection:
        name = f"orchestrator {self._name}"
        url = self._settings.address.update_query(heartbeat=HEARTBEAT_SECONDS, name=name)
        return await aiormq.connect(url, context=self._settings.tls(), transport_factory=Transport())


async def first_of(work: Awaitable[None], *ends: Awaitable[object]) -> None:
    """Run `work` until it or one of `ends` is done. Raises what that raised, else ConnectionError."""
    tasks = [asyncio.ensure_future(each) for each in (work, *ends)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if task.cancelled():
            raise ConnectionError("closed")
        error = task.exception()
        if isinstance(error, asyncio.CancelledError):  # how aiormq says that the broker has fallen silent
            raise ConnectionError("the other side has not been heard of for too long") from error
        if error:
            raise error
    raise ConnectionError("closed by the other side")


def describe(error: BaseException) -> str:
    """One line, whatever it is."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:300]}" if words else type(error).__name__
