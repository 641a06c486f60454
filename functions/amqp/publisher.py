"""Where messages leave us: delayed, or as dead letters. On a connection of its own, since a broker that is short of
memory or disk stops reading from connections that publish, and acknowledgements must still get through.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from functions.amqp.connection import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Link, describe
from functions.amqp.messages import DeadLetter, Verdict, outgoing
from functions.amqp.settings import Settings
from functions.amqp.topology import aside, dead_letter_exchange, delay_exchange, ensure
from runner.runtime.backoff import Backoff

log = logging.getLogger("orchestrator.amqp")

_FRAME_OVERHEAD = 8
"""Bytes of a frame besides its payload (AMQP 0-9-1, 4.2.3)."""


class Outlet:
    """Sends messages on; what it has returned from is stored by the broker."""

    def __init__(self, settings: Settings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._link = Link("sending on", settings, self._serve, random)
        self._channel: AbstractChannel | None = None
        self._opened = asyncio.Event()
        self._renew = asyncio.Event()
        self._room = 0
        self._under_way: set[str] = set()

    def __repr__(self) -> str:
        return f"Outlet({'open' if self._opened.is_set() else 'closed'})"

    @property
    def open(self) -> bool:
        """Whether there is somewhere to send to."""
        return self._opened.is_set()

    async def keep(self) -> None:
        """Keep the connection, for ever."""
        await self._link.keep()

    async def opened(self) -> None:
        """Wait until everything is there that messages may be sent to."""
        await self._opened.wait()

    async def send(self, verdict: Verdict, received: Basic.Properties, body: bytes) -> None:
        """Have the broker store the message as the verdict says, however long that takes."""
        dead = isinstance(verdict, DeadLetter)
        exchange = dead_letter_exchange(self._settings) if dead else delay_exchange(self._settings)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, self._random.random)
        while True:
            await self._opened.wait()
            try:
                await self._publish(exchange, verdict, received, body)
            except FAILURES as error:
                pause = backoff.next()
                log.warning(
                    "a message of %s could not be sent on: %s; trying again in %.1f s",
                    verdict.history.queue, describe(error), pause,
                )  # fmt: skip
                self._renew.set()  # perhaps what it is sent to has been deleted: look, and make it again
                await asyncio.sleep(pause)
            else:
                return

    async def _publish(self, exchange: str, verdict: Verdict, received: Basic.Properties, body: bytes) -> None:
        assert self._channel is not None
        properties = outgoing(verdict, received, self._room)
        # aiormq tells by the message id which message was returned as unroutable, so no two may be under way.
        if properties.message_id in self._under_way:
            properties.message_id = None
        identity = properties.message_id or ""
        self._under_way.add(identity)
        try:
            await self._channel.basic_publish(
                body, exchange=exchange, routing_key=verdict.history.queue, properties=properties, mandatory=True
            )
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ConnectionError("closed while the message was on its way") from error
        except Exception as error:
            if type(error) is Exception:  # how aiormq says that the other side has closed
                raise ConnectionError("closed while the message was on its way") from error
            raise
        finally:
            self._under_way.discard(identity)

    async def _serve(self, connection: AbstractConnection) -> None:
        await ensure(connection, aside(self._settings), declare=self._settings.declare)
        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        self._room = connection.connection_tune.frame_max - _FRAME_OVERHEAD
        self._renew.clear()
        self._opened.set()
        try:
            await self._renew.wait()
        finally:
            self._opened.clear()
