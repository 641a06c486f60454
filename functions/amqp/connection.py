"""A connection to the broker that is opened again after it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from functions.amqp.broker import BrokerAccess
from functions.amqp.transport import Transport
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

FAILURES = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, asyncio.InvalidStateError)
"""What the library raises for failures of the broker, the network or the channel."""

CONNECT_SECONDS, CLOSE_SECONDS = 15.0, 5.0
HEARTBEAT_SECONDS = 20
"""aiormq closes the connection after about three times as long without a byte from the broker."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds before the next attempt: doubled each time, with jitter (see Backoff)."""

STEADY_SECONDS = 30.0
"""After a connection has lasted so long, the backoff starts again."""

Serve = Callable[[AbstractConnection], Awaitable[None]]


class BrokerConnection:
    """One connection. `serve` runs while it is open; when either ends, the other is ended, and it connects again."""

    def __init__(self, name: str, broker: BrokerAccess, serve: Serve, random: Random) -> None:
        self._name = name
        self._broker = broker
        self._serve = serve
        self._random = random

    def __repr__(self) -> str:
        return f"BrokerConnection({self._name}, {self._broker.loggable})"

    async def run(self) -> None:
        """Connect and serve, and repeat both until cancelled."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        while True:
            began = clock()
            try:
                await self._serve_once()
            except FAILURES as error:
                if clock() - began > STEADY_SECONDS:
                    backoff.reset()
                pause = backoff.next()
                log.warning(
                    "no connection to %s for %s: %s; trying again in %.1f s",
                    self._broker.loggable, self._name, describe(error), pause,
                )  # fmt: skip
                await asyncio.sleep(pause)

    async def _serve_once(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await connect(self._broker, self._name)
        try:
            log.info("connected to %s for %s", self._broker.loggable, self._name)
            await first_of(self._serve(connection), connection.closing)
        finally:
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()


async def connect(broker: BrokerAccess, name: str) -> AbstractConnection:
    """One connection, which the broker's own lists show as `orchestrator NAME`. Raises one of FAILURES."""
    url = broker.address.update_query(heartbeat=HEARTBEAT_SECONDS, name=f"orchestrator {name}")
    return await aiormq.connect(url, context=broker.tls(), transport_factory=Transport())


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
        if isinstance(error, asyncio.CancelledError):  # aiormq's sign that the broker sent nothing for too long
            raise ConnectionError("the broker has sent nothing for too long") from error
        if error:
            raise error
    raise ConnectionError("closed by the broker")


def describe(error: BaseException) -> str:
    """The error's type and text, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
