"""The exchanges and queues on the broker: as values, and declaring or checking them.

    atlas ─▶ {exchange} ──key──▶ queue ─▶ consumer ─┬─▶ {exchange}.delay ──seconds──▶ {exchange}.delay.N ─┐ after N s
                                   ▲                │                                                     │
                                   └────────────────┼───────────── {exchange}.return ◀────────────────────┘
                                                    └─▶ {exchange}.dead-letter ─▶ {exchange}.dead-letter

A delayed message keeps its queue's name as routing key, so all queues share the delay queues. If its queue no longer
exists when the delay is over, the alternate exchange of `.return` makes it a dead letter.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from runner.config.protocols import RabbitmqQueue, RabbitmqSection
from runner.request_types import by_spelling

RPC_SECONDS = 20.0
"""For the broker to answer. Quorum queues elect a leader first."""

DELAY_HEADER = "orchestrator-delay"
"""Without the prefix x-: a headers exchange does not compare headers with it, so every queue would match."""


class QueueSource(msgspec.Struct, frozen=True, kw_only=True):
    """A queue to consume, the routing key that it is bound by, and the request type of its messages."""

    request_type: str
    queue: str
    key: str


class ExchangeDeclaration(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    kind: str = "direct"
    arguments: dict[str, Any] = {}


class Binding(msgspec.Struct, frozen=True):
    """An exchange routes to the queue, by this key and these arguments."""

    exchange: str
    key: str = ""
    arguments: dict[str, Any] = {}


class QueueDeclaration(msgspec.Struct, frozen=True):
    """A durable queue with the bindings that lead to it."""

    name: str
    arguments: dict[str, Any] = {}
    bindings: tuple[Binding, ...] = ()


Declaration = ExchangeDeclaration | QueueDeclaration


def sources(section: RabbitmqSection) -> tuple[QueueSource, ...]:
    """Every queue, also those of the aliases. A queue that two names share is listed once."""
    found: dict[str, QueueSource] = {}
    for spelling, row in by_spelling().items():
        place = section.queues.get(spelling, RabbitmqQueue())
        queue, key = place.queue or spelling, place.key or spelling
        found.setdefault(queue, QueueSource(request_type=row.name, queue=queue, key=key))
    return tuple(found.values())


def delay_exchange(section: RabbitmqSection) -> str:
    """Routes messages that are to wait, by the header DELAY_HEADER."""
    return f"{section.exchange}.delay"


def dead_letter_exchange(section: RabbitmqSection) -> str:
    """Routes messages that can never succeed."""
    return f"{section.exchange}.dead-letter"


def retry_topology(section: RabbitmqSection) -> tuple[Declaration, ...]:
    """For messages that were not accepted: the delay queues, the return to the queues, the dead letters."""
    back, dead = f"{section.exchange}.return", dead_letter_exchange(section)
    delay = delay_exchange(section)
    return (
        ExchangeDeclaration(dead, "fanout"),
        QueueDeclaration(dead, _type(section), (Binding(dead),)),
        ExchangeDeclaration(back, "direct", {"alternate-exchange": dead}),
        ExchangeDeclaration(delay, "headers"),
        *(
            QueueDeclaration(
                f"{delay}.{seconds}",
                {**_type(section), **_dead_lettering(section, back), "x-message-ttl": seconds * 1000},
                (Binding(delay, "", {"x-match": "all", DELAY_HEADER: seconds}),),
            )
            for seconds in section.delays
        ),
    )


def queue_topology(section: RabbitmqSection, source: QueueSource) -> tuple[Declaration, ...]:
    """For one request type's messages: its queue, and the exchanges that it is bound to.

    A classic queue is declared without arguments, as other programs would declare it. A quorum queue makes a dead
    letter of each message that the broker itself gives up on (RabbitMQ 4 has a delivery limit of 20).
    """
    quorum = section.queue_type == "quorum"
    arguments = {**_type(section), **_dead_lettering(section, dead_letter_exchange(section))} if quorum else {}
    bindings = Binding(section.exchange, source.key), Binding(f"{section.exchange}.return", source.queue)
    return ExchangeDeclaration(section.exchange), QueueDeclaration(source.queue, arguments, bindings)


def _type(section: RabbitmqSection) -> dict[str, Any]:
    return {"x-queue-type": "quorum"} if section.queue_type == "quorum" else {}


def _dead_lettering(section: RabbitmqSection, exchange: str) -> dict[str, Any]:
    """Quorum queues remove a message only after its new queue has confirmed it (RabbitMQ 3.10)."""
    if section.queue_type == "classic":
        return {"x-dead-letter-exchange": exchange}
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def ensure(connection: AbstractConnection, declarations: tuple[Declaration, ...], *, declare: bool) -> None:
    """Declare what is missing; what exists is used as it is. Without `declare`, only check.

    Raises aiormq's ChannelNotFoundEntity where something is missing and `declare` is false.
    """
    for declaration in declarations:
        try:
            await _check(connection, declaration)
        except ChannelNotFoundEntity:
            if not declare:
                raise
            await _declare(connection, declaration)
        if declare and isinstance(declaration, QueueDeclaration):
            await _bind(connection, declaration)


async def missing(connection: AbstractConnection, declarations: tuple[Declaration, ...]) -> list[str]:
    """Which of them do not exist, as `queue NAME` or `exchange NAME`. Declares nothing."""
    absent: list[str] = []
    for declaration in declarations:
        kind = "exchange" if isinstance(declaration, ExchangeDeclaration) else "queue"
        try:
            await _check(connection, declaration)
        except ChannelNotFoundEntity:
            absent.append(f"{kind} {declaration.name}")
    return absent


async def _check(connection: AbstractConnection, declaration: Declaration) -> None:
    """On a channel of its own: the broker closes the channel where the exchange or queue is missing."""
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
    if isinstance(declaration, ExchangeDeclaration):
        await channel.exchange_declare(declaration.name, passive=True, timeout=RPC_SECONDS)
    else:
        await channel.queue_declare(declaration.name, passive=True, timeout=RPC_SECONDS)
    await channel.close()


async def _declare(connection: AbstractConnection, declaration: Declaration) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=RPC_SECONDS)
    if isinstance(declaration, ExchangeDeclaration):
        await channel.exchange_declare(
            declaration.name,
            exchange_type=declaration.kind,
            durable=True,
            arguments=declaration.arguments,
            timeout=RPC_SECONDS,
        )
    else:
        await channel.queue_declare(
            declaration.name, durable=True, arguments=declaration.arguments, timeout=RPC_SECONDS
        )
    await channel.close()


async def _bind(connection: AbstractConnection, queue: QueueDeclaration) -> None:
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
