"""Lost connections to the broker, which aiormq reports by several exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from pamqp.commands import Basic

from functions.amqp.broker import BrokerAccess
from functions.amqp.connection import first_of
from functions.amqp.messages import Delay, History
from functions.amqp.publisher import MessagePublisher
from runner.config.protocols import RabbitmqSection
from runner.errors import Busy


def test_a_broker_that_sends_nothing_for_too_long_is_a_lost_connection() -> None:
    """aiormq then sets CancelledError on the connection's `closing`, though no task was cancelled."""

    async def main() -> None:
        closing = asyncio.get_running_loop().create_future()
        closing.set_exception(asyncio.CancelledError())
        await first_of(asyncio.sleep(10), closing)

    with pytest.raises(ConnectionError, match="sent nothing for too long"):
        asyncio.run(main())


def test_a_real_cancellation_is_passed_on() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(first_of(asyncio.sleep(10), asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


class Channel:
    """Raises the given failures, and then accepts messages."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.published: list[bytes] = []

    async def basic_publish(self, body: bytes, **_: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.published.append(body)


def send(channel: Channel, then: Callable[[asyncio.Task[None]], None] = lambda _: None) -> None:
    """Publish one delayed message on that channel."""

    async def main() -> None:
        publisher = MessagePublisher(RabbitmqSection(), BrokerAccess(url="amqp://localhost"), Random(0))
        publisher._channel = channel  # type: ignore[assignment]
        publisher._opened.set()
        verdict = Delay(1, History(queue="q", first_seen=0), Busy("later"))
        sending = asyncio.ensure_future(publisher.send(verdict, Basic.Properties(), b"body"))
        await asyncio.sleep(0)
        then(sending)
        await asyncio.wait_for(sending, 10)

    asyncio.run(main())


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), Exception(), ConnectionError("gone")], ids=repr)
def test_a_message_that_was_not_confirmed_before_the_connection_closed_is_sent_again(failure: BaseException) -> None:
    """aiormq raises one of these where a task waits for the confirmation."""
    channel = Channel(failure)
    send(channel)
    assert channel.published == [b"body"]


def test_any_other_exception_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        send(Channel(ZeroDivisionError()))


def test_a_cancelled_task_sends_no_more() -> None:
    class Slow(Channel):
        async def basic_publish(self, body: bytes, **_: Any) -> None:
            await asyncio.sleep(10)

    with pytest.raises(asyncio.CancelledError):
        send(Slow(), asyncio.Task.cancel)
