"""The RabbitMQ consumer: `python -m functions.amqp` consumes the queues and passes each message to its function.

    queue ─▶ consumer ─▶ thread: function ─▶ sidecar ─┬─ accepted ─▶ ack
                                                      └─ error ─▶ delay or dead letter, stored by the broker ─▶ ack

The guarantee: a message is acknowledged only after every job it asks for exists, or after the broker has confirmed that
it stored the message elsewhere. A crash between the two leaves a message twice, which the jobs' names make harmless.
There is no token here: the broker's permissions say which users may publish.

Why threads: the sidecar's client blocks, for as long as a cluster takes to answer. As many commands are in flight as
there are threads; the prefetch bounds the messages that wait for one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random, SystemRandom

from aiormq.abc import AbstractConnection, DeliveredMessage

from functions.amqp import broker as amqp_broker
from functions.amqp import messages as amqp_messages
from functions.amqp.broker import BrokerAccess
from functions.amqp.circuit_breaker import CircuitBreaker
from functions.amqp.connection import FAILURES, BrokerConnection
from functions.amqp.consumer import QueueConsumer
from functions.amqp.health import HealthFile
from functions.amqp.messages import DeadLetter, History, Verdict
from functions.amqp.publisher import MessagePublisher
from functions.amqp.topology import QueueSource, sources
from functions.function import DEADLINE_SECONDS, Function
from functions.request_metrics import RequestMetrics
from runner.config.protocols import RabbitmqSection
from runner.config.section_variable import RABBITMQ
from runner.errors import Internal, OrchestratorError, Unavailable
from runner.request_types import REQUEST_TYPES
from runner.runtime import exit_codes, logs
from runner.runtime.clock import Clock, SystemClock
from runner.runtime.metrics.labels import ACCEPTED
from runner.runtime.metrics.meter import meter
from runner.runtime.struct_types import learn_struct_types
from runner.sidecar.client import DEFAULT_SOCKET, SOCKET_VARIABLE, Client

log = logging.getLogger("orchestrator.amqp")

DRAIN_SECONDS = 20.0
"""On SIGTERM, for messages in flight. `up` waits for 35, and a thread may need its 10 to end."""


class AmqpServer:
    """Consumes every queue and passes each message to its function."""

    def __init__(
        self, section: RabbitmqSection, broker: BrokerAccess, socket_path: str, clock: Clock, random: Random
    ) -> None:
        client = Client(socket_path, clock)
        recorder = meter(os.environ, socket_path)
        self._metrics = RequestMetrics("amqp", recorder)
        self._clock = clock
        self._random = random
        self._section = section
        self._functions: Mapping[str, Function] = {
            name: Function(row, client, clock) for name, row in REQUEST_TYPES.items()
        }
        self._threads = ThreadPoolExecutor(section.threads, "command")
        self._publisher = MessagePublisher(section, broker, random)
        self._consumers = [QueueConsumer(source, section, self._take, random) for source in sources(section)]
        self._connection = BrokerConnection("consuming", broker, self._consume, random)
        self._breaker = CircuitBreaker(socket_path, clock, random)
        self._health = HealthFile(section.health_file, client, self._not_ready_reason, clock, recorder)
        self._in_flight: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"AmqpServer({self._consumers}, {self._publisher}, {self._breaker}, {len(self._in_flight)} in flight)"

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish the messages in flight."""
        parts = (self._publisher, self._connection, self._breaker, self._health)
        tasks = [asyncio.ensure_future(each.run()) for each in parts]
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._drain()
        for task in (stopping, *tasks):
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        if not stop.is_set():
            raise RuntimeError("a part of the RabbitMQ consumer has ended without being stopped")

    async def _consume(self, connection: AbstractConnection) -> None:
        """Consume, once the publisher can store the messages that are not accepted."""
        await self._publisher.opened()
        await asyncio.gather(*(consumer.run(connection) for consumer in self._consumers))

    async def _drain(self) -> None:
        log.info("stopping; %d messages in flight are finished first", len(self._in_flight))
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        self._breaker.abandon()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=DRAIN_SECONDS)
        if left := len(self._in_flight):
            log.warning(
                "%d messages were not finished within %.0f s; they go back to their queues", left, DRAIN_SECONDS
            )
        for task in self._in_flight:
            task.cancel()

    def _take(self, source: QueueSource, message: DeliveredMessage) -> None:
        task = asyncio.ensure_future(self._handle(source, message))
        self._in_flight.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a message could not be handled; it stays in its queue", exc_info=error)

    async def _handle(self, source: QueueSource, message: DeliveredMessage) -> None:
        arrived = self._clock.monotonic()
        properties, redelivered = message.header.properties, bool(message.redelivered)
        headers, delays = properties.headers or {}, self._section.delays
        history = amqp_messages.history(headers, source.queue, self._clock.wall(), redelivered=redelivered)
        trace_id = amqp_messages.trace_id(properties)
        verdict = amqp_messages.on_return(history, headers, delays, self._random.choice, redelivered=redelivered)
        if verdict is None:
            verdict = await self._try(source, message, history, trace_id)
        if verdict is not None:
            _log_verdict(verdict, trace_id)
            await self._publisher.send(verdict, properties, message.body)
        with suppress(*FAILURES):  # the channel is closed: the message comes again, and its jobs exist
            await message.channel.basic_ack(message.delivery_tag or 0)
        code = verdict.error.code if verdict else ACCEPTED
        self._metrics.answered(source.request_type, code, self._clock.monotonic() - arrived)

    async def _try(
        self, source: QueueSource, message: DeliveredMessage, history: History, trace_id: str
    ) -> Verdict | None:
        """Pass the message to its function. The verdict says what becomes of a message that is not accepted."""
        try:
            await self._breaker.until_closed()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._accept, source.request_type, message, trace_id)
        except OrchestratorError as error:
            if isinstance(error, Unavailable):
                self._breaker.trip()
            return amqp_messages.on_error(error, history, self._section.delays, self._random.choice)
        except Exception:
            log.exception("a message failed with an internal error", extra={"request_id": trace_id})
            defect = Internal(f"internal error; it is logged under request id {trace_id}")
            return amqp_messages.on_error(defect, history, self._section.delays, self._random.choice)
        return None

    def _accept(self, request_type: str, message: DeliveredMessage, trace_id: str) -> None:
        """Runs in a thread. The deadline begins here: waiting for a thread must not shorten the sidecar's time."""
        properties = message.header.properties
        body = amqp_messages.payload(message.body, properties.content_encoding)
        traceparent = (properties.headers or {}).get("traceparent", "")
        self._functions[request_type].accept(body, self._clock.monotonic() + DEADLINE_SECONDS, trace_id, traceparent)

    def _not_ready_reason(self) -> str:
        """Why a message published now would not be consumed; empty if it would."""
        if not self._publisher.open:
            return "there is no connection to the broker"
        idle = [consumer.source.queue for consumer in self._consumers if not consumer.consuming]
        return f"not consumed: {', '.join(idle)}" if idle else ""


def _log_verdict(verdict: Verdict, trace_id: str) -> None:
    error, history = verdict.error, verdict.history
    fields = {"request_id": trace_id, "queue": history.queue, "code": error.code, "attempts": history.attempts}
    if isinstance(verdict, DeadLetter):
        log.error("a message became a dead letter: %s", error.detail, extra=fields)
    else:
        seconds = {"seconds": verdict.seconds}
        log.warning("a message waits for %d s: %s", verdict.seconds, error.detail, extra=fields | seconds)


async def serve(section: RabbitmqSection, broker: BrokerAccess, socket_path: str) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await AmqpServer(section, broker, socket_path, SystemClock(), SystemRandom()).run(stop)


def main() -> int:
    """Run the process; its exit code."""
    logs.configure(logs.level_of(os.environ))
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it also raises what it logs, and one line is enough
    try:
        section, broker = RABBITMQ.read(os.environ), amqp_broker.read(os.environ)
    except OrchestratorError as error:
        log.critical("the RabbitMQ consumer cannot start: %s", error.detail)
        return exit_codes.CONFIGURATION
    learn_struct_types()  # messages are decoded in threads
    asyncio.run(serve(section, broker, os.environ.get(SOCKET_VARIABLE, DEFAULT_SOCKET)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
