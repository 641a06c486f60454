"""Publishing messages that were not accepted: to a delay queue or as dead letters.

On a connection of its own: a broker that is short of memory or disk stops reading from connections that publish, and
acknowledgements must still reach it.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from functions.amqp.broker import BrokerAccess
from functions.amqp.connection import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, BrokerConnection, describe
from functions.amqp.messages import DeadLetter, Verdict, outgoing
from functions.amqp.topology import dead_letter_exchange, delay_exchange, ensure, retry_topology
from runner.config.protocols import RabbitmqSection
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

_FRAME_OVERHEAD = 8
"""Bytes of a frame besides its payload (AMQP 0-9-1, 4.2.3)."""


class MessagePublisher:
    """Publishes messages. When `send` returns, the broker has stored the message."""

    def __init__(self, section: RabbitmqSection, broker: BrokerAccess, random: Random) -> None:
        self._section = section
        self._random = random
        self._connection = BrokerConnection("publishing", broker, self._serve, random)
        self._channel: AbstractChannel | None = None
        self._opened = asyncio.Event()
        self._renew = asyncio.Event()
        self._max_header_bytes = 0
        self._unconfirmed: set[str] = set()

    def __repr__(self) -> str:
        return f"MessagePublisher({'open' if self._opened.is_set() else 'closed'})"

    @property
    def open(self) -> bool:
        """Whether a message could be published now."""
        return self._opened.is_set()

    async def run(self) -> None:
        """Keep the connection open, until cancelled."""
        await self._connection.run()

    async def opened(self) -> None:
        """Wait until every exchange and queue exists that `send` publishes to."""
        await self._opened.wait()

    async def send(self, verdict: Verdict, received: Basic.Properties, body: bytes) -> None:
        """Publish as the verdict says, and repeat that until the broker has confirmed it."""
        dead = isinstance(verdict, DeadLetter)
        exchange = dead_letter_exchange(self._section) if dead else delay_exchange(self._section)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        while True:
            await self._opened.wait()
            try:
                await self._publish(exchange, verdict, received, body)
            except FAILURES as error:
                pause = backoff.next()
                log.warning(
                    "a message of %s could not be published: %s; trying again in %.1f s",
                    verdict.history.queue, describe(error), pause,
                )  # fmt: skip
                self._renew.set()  # the exchange may have been deleted: check, and declare it again
                await asyncio.sleep(pause)
            else:
                return

    async def _publish(self, exchange: str, verdict: Verdict, received: Basic.Properties, body: bytes) -> None:
        assert self._channel is not None
        properties = outgoing(verdict, received, self._max_header_bytes)
        # aiormq matches a returned message by its id, so no two unconfirmed ones may have the same.
        if properties.message_id in self._unconfirmed:
            properties.message_id = None
        identity = properties.message_id or ""
        self._unconfirmed.add(identity)
        try:
            await self._channel.basic_publish(
                body, exchange=exchange, routing_key=verdict.history.queue, properties=properties, mandatory=True
            )
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ConnectionError("closed before the message was confirmed") from error
        except Exception as error:
            if type(error) is Exception:  # aiormq's sign that the broker has closed the channel
                raise ConnectionError("closed before the message was confirmed") from error
            raise
        finally:
            self._unconfirmed.discard(identity)

    async def _serve(self, connection: AbstractConnection) -> None:
        await ensure(connection, retry_topology(self._section), declare=self._section.declare)
        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        self._max_header_bytes = connection.connection_tune.frame_max - _FRAME_OVERHEAD
        self._renew.clear()
        self._opened.set()
        try:
            await self._renew.wait()
        finally:
            self._opened.clear()
