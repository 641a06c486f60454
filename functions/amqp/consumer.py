"""One queue's consumer, watched: whatever ends it, it begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from functions.amqp.connection import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, describe, first_of
from functions.amqp.settings import Settings, Source
from functions.amqp.topology import RPC_SECONDS, ensure, work
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

WATCH_SECONDS = 10.0
"""Between two looks at whether the queue and our consumer on it are still there."""

Take = Callable[[Source, DeliveredMessage], None]


class Intake:
    """Consumes one queue on a channel of its own, so that what closes the channel concerns no other queue."""

    def __init__(self, source: Source, settings: Settings, take: Take, random: Random) -> None:
        self.source = source
        self._settings = settings
        self._take = take
        self._random = random
        self._channel: AbstractChannel | None = None
        self._tag = ""
        self._stopped = False

    def __repr__(self) -> str:
        return f"Intake({self.source.queue!r}, {'consuming' if self.consuming else 'not consuming'})"

    @property
    def consuming(self) -> bool:
        """Whether messages would come."""
        return self._channel is not None and not self._channel.is_closed

    async def keep(self, connection: AbstractConnection) -> None:
        """Consume for as long as the connection holds."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        while not self._stopped:
            try:
                await self._consume(connection, backoff)
            except FAILURES as error:
                pause = backoff.next()
                log.warning("%s is not consumed: %s; trying again in %.1f s", self.source.queue, describe(error), pause)
                await asyncio.sleep(pause)
        await connection.closing

    async def stop(self) -> None:
        """Have nothing more delivered; what is in hand can still be acknowledged."""
        self._stopped = True
        if self._channel is not None:
            with suppress(*FAILURES):
                await self._channel.basic_cancel(self._tag, timeout=RPC_SECONDS)

    async def _consume(self, connection: AbstractConnection, backoff: Backoff) -> None:
        await ensure(connection, work(self._settings, self.source), declare=self._settings.declare)
        channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
        cancelled = asyncio.get_running_loop().create_future()
        channel.on_consumer_cancel_callbacks.add(lambda _: _settle(cancelled))
        try:
            await channel.basic_qos(prefetch_count=self._settings.prefetch, timeout=RPC_SECONDS)
            answer = await channel.basic_consume(self.source.queue, self._deliver, timeout=RPC_SECONDS)
            self._channel, self._tag = channel, answer.consumer_tag or ""
            log.info("consuming %s", self.source.queue)
            await first_of(self._watch(channel, backoff), channel.closing, cancelled)
        finally:
            self._channel = None
            with suppress(*FAILURES):
                async with asyncio.timeout(RPC_SECONDS):
                    await channel.close()

    async def _deliver(self, message: DeliveredMessage) -> None:
        """Aiormq ends its own tasks with the channel, so what is done with the message does not belong in here."""
        self._take(self.source, message)

    async def _watch(self, channel: AbstractChannel, backoff: Backoff) -> None:
        """A queue that is gone closes the channel; one without any consumer has lost ours."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            queue = await channel.queue_declare(self.source.queue, passive=True, timeout=RPC_SECONDS)
            if queue.consumer_count == 0 and not self._stopped:
                raise ConnectionError("the broker has forgotten the consumer")
            backoff.reset()


def _settle(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
