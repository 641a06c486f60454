"""What must exist on the broker: as values, and making or checking it.

    atlas ─▶ {exchange} ──key──▶ queue ─▶ us ─┬─▶ {exchange}.delay ──seconds──▶ {exchange}.delay.N ─┐ after N s
                                   ▲          │                                                       │
                                   └──────────┼────────────── {exchange}.return ◀─────────────────────┘
                                              └─▶ {exchange}.dead-letter ─▶ {exchange}.dead-letter

A delayed message keeps its queue's name as routing key, so all queues share the delay queues. Should its queue be gone
when the delay is over, the alternate exchange of `.return` keeps it as a dead letter.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from functions.amqp.settings import Settings, Source

RPC_SECONDS = 20.0
"""For the broker to answer; quorum queues elect a leader first."""

DELAY_HEADER = "orchestrator-delay"
"""A headers exchange leaves names that begin with x- out of the comparison, so that every queue would match."""


class Exchange(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    kind: str = "direct"
    arguments: dict[str, Any] = {}


class Binding(msgspec.Struct, frozen=True):
    """An exchange leads to the queue, by this key and these arguments."""

    exchange: str
    key: str = ""
    arguments: dict[str, Any] = {}


class Queue(msgspec.Struct, frozen=True):
    """A durable queue with the bindings that lead to it."""

    name: str
    arguments: dict[str, Any] = {}
    bindings: tuple[Binding, ...] = ()


Part = Exchange | Queue


def delay_exchange(settings: Settings) -> str:
    """Takes messages that are to wait, by the header DELAY_HEADER."""
    return f"{settings.exchange}.delay"


def dead_letter_exchange(settings: Settings) -> str:
    """Takes messages that can never succeed."""
    return f"{settings.exchange}.dead-letter"


def aside(settings: Settings) -> tuple[Part, ...]:
    """Where messages go that were not accepted."""
    back, dead = f"{settings.exchange}.return", dead_letter_exchange(settings)
    delay = delay_exchange(settings)
    return (
        Exchange(dead, "fanout"),
        Queue(dead, _type(settings), (Binding(dead),)),
        Exchange(back, "direct", {"alternate-exchange": dead}),
        Exchange(delay, "headers"),
        *(
            Queue(
                f"{delay}.{seconds}",
                {**_type(settings), **_dead_lettering(settings, back), "x-message-ttl": seconds * 1000},
                (Binding(delay, "", {"x-match": "all", DELAY_HEADER: seconds}),),
            )
            for seconds in settings.delays
        ),
    )


def work(settings: Settings, source: Source) -> tuple[Part, ...]:
    """Where one request type's messages come from.

    A classic queue is made without arguments, as everybody else would declare it. A quorum queue hands what the
    broker itself gives up on (RabbitMQ 4 has a delivery limit of 20) to the dead letters.
    """
    quorum = settings.queue_type == "quorum"
    arguments = {**_type(settings), **_dead_lettering(settings, dead_letter_exchange(settings))} if quorum else {}
    bindings = Binding(settings.exchange, source.key), Binding(f"{settings.exchange}.return", source.queue)
    return Exchange(settings.exchange), Queue(source.queue, arguments, bindings)


def _type(settings: Settings) -> dict[str, Any]:
    return {"x-queue-type": "quorum"} if settings.queue_type == "quorum" else {}


def _dead_lettering(settings: Settings, exchange: str) -> dict[str, Any]:
    """Quorum queues give a message away only once its new queue has confirmed it (RabbitMQ 3.10)."""
    if settings.queue_type == "classic":
        return {"x-dead-letter-exchange": exchange}
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def ensure(connection: AbstractConnection, parts: tuple[Part, ...], *, declare: bool) -> None:
    """Make what is missing; what exists is taken as it is. Without `declare`, only look.

    Raises aiormq's ChannelNotFoundEntity where something is missing and not to be made.
    """
    for part in parts:
        try:
            await _look(connection, part)
        except ChannelNotFoundEntity:
            if not declare:
                raise
            await _make(connection, part)
        if declare and isinstance(part, Queue):
            await _bind(connection, part)


async def _look(connection: AbstractConnection, part: Part) -> None:
    """On a channel of its own, since the broker closes the channel where the part is missing."""
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
    if isinstance(part, Exchange):
        await channel.exchange_declare(part.name, passive=True, timeout=RPC_SECONDS)
    else:
        await channel.queue_declare(part.name, passive=True, timeout=RPC_SECONDS)
    await channel.close()


async def _make(connection: AbstractConnection, part: Part) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
    if isinstance(part, Exchange):
        await channel.exchange_declare(
            part.name, exchange_type=part.kind, durable=True, arguments=part.arguments, timeout=RPC_SECONDS
        )
    else:
        await channel.queue_declare(part.name, durable=True, arguments=part.arguments, timeout=RPC_SECONDS)
    await channel.close()


async def _bind(connection: AbstractConnection, queue: Queue) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
    for binding in queue.bindings:
        await channel.queue_bind(
            queue.name,
            binding.exchange,
            routing_key=binding.key,
            arguments=binding.arguments,
            timeout=RPC_SECONDS,
        )
    await channel.close()
