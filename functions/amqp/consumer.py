"""The consumer of one queue, which is started again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from functions.amqp.connection import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, describe, first_of
from functions.amqp.topology import RPC_SECONDS, QueueSource, ensure, queue_topology
from runner.config.protocols import RabbitmqSection
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

WATCH_SECONDS = 10.0
"""Between two checks that the queue and this consumer on it still exist."""

Take = Callable[[QueueSource, DeliveredMessage], None]


class QueueConsumer:
    """Consumes one queue on a channel of its own, so that an error that closes the channel affects no other queue."""

    def __init__(self, source: QueueSource, section: RabbitmqSection, take: Take, random: Random) -> None:
        self.source = source
        self._section = section
        self._take = take
        self._random = random
        self._channel: AbstractChannel | None = None
        self._tag = ""
        self._stopped = False

    def __repr__(self) -> str:
        return f"QueueConsumer({self.source.queue!r}, {'consuming' if self.consuming else 'not consuming'})"

    @property
    def consuming(self) -> bool:
        """Whether the broker would deliver a message now."""
        return self._channel is not None and not self._channel.is_closed

    async def run(self, connection: AbstractConnection) -> None:
        """Consume while the connection is open."""
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
        """Cancel the consumer; messages in flight can still be acknowledged."""
        self._stopped = True
        if self._channel is not None:
            with suppress(*FAILURES):
                await self._channel.basic_cancel(self._tag, timeout=RPC_SECONDS)

    async def _consume(self, connection: AbstractConnection, backoff: Backoff) -> None:
        await ensure(connection, queue_topology(self._section, self.source), declare=self._section.declare)
        channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
        cancelled = asyncio.get_running_loop().create_future()
        channel.on_consumer_cancel_callbacks.add(lambda _: _settle(cancelled))
        try:
            await channel.basic_qos(prefetch_count=self._section.prefetch, timeout=RPC_SECONDS)
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
        """Pass the message on. A task of aiormq, as this is, would be cancelled when the channel closes."""
        self._take(self.source, message)

    async def _watch(self, channel: AbstractChannel, backoff: Backoff) -> None:
        """Find a lost consumer: a deleted queue closes the channel, and a queue without consumers has lost this one."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            queue = await channel.queue_declare(self.source.queue, passive=True, timeout=RPC_SECONDS)
            if queue.consumer_count == 0 and not self._stopped:
                raise ConnectionError("the broker no longer has this consumer")
            backoff.reset()


def _settle(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
