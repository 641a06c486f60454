"""What must exist on the broker: as values, and making or checking it.

    atlas ─▶ {exchange} ──key──▶ queue ─▶ us ─┬─▶ {exchange}.delay ──seconds──▶ {exchange}.delay.N ─┐ after N s
                                   ▲          │                                                       │
                                   └──────────┼────────────── {exchange}.return ◀─────────────────────┘
                                              └─▶ {exchange}.dead-letter ─▶ {exchange}.dead-letter

A delayed message keeps its queue's name as routing key, so all queues share the delay queues. Should its queue be gone
when the delay is over, the alternate exchange of `.return` keeps it as a dead letter.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from runner.config.protocols import RabbitmqQueue, RabbitmqSection, RabbitmqType
from runner.payloads import ALIASES, REQUEST_TYPES

RPC_SECONDS = 20.0
"""For the broker to answer; quorum queues elect a leader first."""

DELAY_HEADER = "orchestrator-delay"
"""A headers exchange leaves names that begin with x- out of the comparison, so that every queue would match."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A queue to consume, the routing key that it is bound by, and the request type of its messages."""

    request_type: str
    queue: str
    key: str


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


def sources(section: RabbitmqSection) -> tuple[Source, ...]:
    """Every queue, also that of the spelling in atlas's own list; one that two spellings share only once."""
    found: dict[str, Source] = {}
    for spelling in (*REQUEST_TYPES, *ALIASES):
        place = section.queues.get(cast("RabbitmqType", spelling), RabbitmqQueue())
        queue, key = place.queue or spelling, place.key or spelling
        found.setdefault(queue, Source(request_type=ALIASES.get(spelling, spelling), queue=queue, key=key))
    return tuple(found.values())


def delay_exchange(section: RabbitmqSection) -> str:
    """Takes messages that are to wait, by the header DELAY_HEADER."""
    return f"{section.exchange}.delay"


def dead_letter_exchange(section: RabbitmqSection) -> str:
    """Takes messages that can never succeed."""
    return f"{section.exchange}.dead-letter"


def aside(section: RabbitmqSection) -> tuple[Part, ...]:
    """Where messages go that were not accepted."""
    back, dead = f"{section.exchange}.return", dead_letter_exchange(section)
    delay = delay_exchange(section)
    return (
        Exchange(dead, "fanout"),
        Queue(dead, _type(section), (Binding(dead),)),
        Exchange(back, "direct", {"alternate-exchange": dead}),
        Exchange(delay, "headers"),
        *(
            Queue(
                f"{delay}.{seconds}",
                {**_type(section), **_dead_lettering(section, back), "x-message-ttl": seconds * 1000},
                (Binding(delay, "", {"x-match": "all", DELAY_HEADER: seconds}),),
            )
            for seconds in section.delays
        ),
    )


def work(section: RabbitmqSection, source: Source) -> tuple[Part, ...]:
    """Where one request type's messages come from.

    A classic queue is made without arguments, as everybody else would declare it. A quorum queue hands what the
    broker itself gives up on (RabbitMQ 4 has a delivery limit of 20) to the dead letters.
    """
    quorum = section.queue_type == "quorum"
    arguments = {**_type(section), **_dead_lettering(section, dead_letter_exchange(section))} if quorum else {}
    bindings = Binding(section.exchange, source.key), Binding(f"{section.exchange}.return", source.queue)
    return Exchange(section.exchange), Queue(source.queue, arguments, bindings)


def _type(section: RabbitmqSection) -> dict[str, Any]:
    return {"x-queue-type": "quorum"} if section.queue_type == "quorum" else {}


def _dead_lettering(section: RabbitmqSection, exchange: str) -> dict[str, Any]:
    """Quorum queues give a message away only once its new queue has confirmed it (RabbitMQ 3.10)."""
    if section.queue_type == "classic":
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
