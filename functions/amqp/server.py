"""The RabbitMQ door: `python -m functions.amqp` consumes the queues and hands their messages to the functions.

    queue ─▶ intake ─▶ threads: function ─▶ sidecar ─┬─ accepted ─▶ ack
                                                     └─ error ─▶ delay or dead letter, stored by the broker ─▶ ack

What this keeps: a message is acknowledged only after every job it asks for exists, or after the broker has confirmed
that it stored the message elsewhere. Dying between the two leaves a message twice, which the jobs' names make
harmless. There is no token here: who may publish is for the broker to say.

Why threads: the sidecar's client blocks, for as long as a cluster takes to answer. As many commands are in hand as
there are threads; the prefetch bounds the messages that wait for one.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aiormq.abc import AbstractConnection, DeliveredMessage

from functions.amqp import messages as amqp_messages
from functions.amqp import settings as amqp_settings
from functions.amqp.circuit_breaker import Gate
from functions.amqp.connection import FAILURES, Link
from functions.amqp.consumer import Intake
from functions.amqp.health import Health
from functions.amqp.messages import DeadLetter, History, Verdict
from functions.amqp.publisher import Outlet
from functions.amqp.settings import Settings, Source
from functions.function import DEADLINE_SECONDS, Function
from runner.errors import Internal, OrchestratorError, Unavailable
from runner.request_types import REQUEST_TYPES
from runner.runtime import exit_codes, logs
from runner.sidecar.client import Client

log = logging.getLogger("orchestrator.amqp")

DRAIN_SECONDS = 20.0
"""On SIGTERM, for what is in hand; `up` waits for 35, and a thread may need its 10 to let go."""


class Door:
    """From queues to functions, until told to stop."""

    def __init__(self, settings: Settings, socket_path: str) -> None:
        client = Client(socket_path)
        self._settings = settings
        self._functions = {name: Function(row, client) for name, row in REQUEST_TYPES.items()}
        self._threads = ThreadPoolExecutor(settings.threads, "command")
        self._outlet = Outlet(settings)
        self._intakes = [Intake(source, settings, self._take) for source in settings.sources()]
        self._link = Link("consuming", settings, self._consume)
        self._gate = Gate(socket_path)
        self._health = Health(settings.health_file, client, self._trouble)
        self._in_hand: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Door({self._intakes}, {self._outlet}, {self._gate}, {len(self._in_hand)} in hand)"

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; then finish what is in hand."""
        kept: list[Awaitable[None]] = [self._outlet.keep(), self._link.keep(), self._gate.keep(), self._health.keep()]
        tasks = [asyncio.ensure_future(each) for each in kept]
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
            raise RuntimeError("a part of the door has ended, though nobody asked it to")

    async def _consume(self, connection: AbstractConnection) -> None:
        """Only once there is somewhere for messages to go that are not accepted."""
        await self._outlet.opened()
        await asyncio.gather(*(intake.keep(connection) for intake in self._intakes))

    async def _drain(self) -> None:
        log.info("stopping; %d messages in hand are finished first", len(self._in_hand))
        await asyncio.gather(*(intake.stop() for intake in self._intakes))
        self._gate.abandon()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=DRAIN_SECONDS)
        if left := len(self._in_hand):
            log.warning(
                "%d messages were not finished within %.0f s; they go back to their queues", left, DRAIN_SECONDS
            )
        for task in self._in_hand:
            task.cancel()

    def _take(self, source: Source, message: DeliveredMessage) -> None:
        task = asyncio.ensure_future(self._handle(source, message))
        self._in_hand.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a message could not be handled; it stays in its queue", exc_info=error)

    async def _handle(self, source: Source, message: DeliveredMessage) -> None:
        properties, redelivered = message.header.properties, bool(message.redelivered)
        headers, delays = properties.headers or {}, self._settings.delays
        history = amqp_messages.history(headers, source.queue, time.time(), redelivered=redelivered)
        trace_id = amqp_messages.trace_id(properties)
        verdict = amqp_messages.on_return(history, headers, delays, random.choice, redelivered=redelivered)
        if verdict is None:
            verdict = await self._try(source, message, history, trace_id)
        if verdict is not None:
            _tell(verdict, trace_id)
            await self._outlet.send(verdict, properties, message.body)
        with suppress(*FAILURES):  # the channel is gone: the message comes again, and finds its jobs
            await message.channel.basic_ack(message.delivery_tag or 0)

    async def _try(self, source: Source, message: DeliveredMessage, history: History, trace_id: str) -> Verdict | None:
        """Have it accepted; the verdict where it is not."""
        try:
            await self._gate.passed()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._accept, source.request_type, message, trace_id)
        except OrchestratorError as error:
            if isinstance(error, Unavailable):
                self._gate.close()
            return amqp_messages.judge(error, history, self._settings.delays, random.choice)
        except Exception:
            log.exception("a message failed for a reason of ours", extra={"request_id": trace_id})
            defect = Internal(f"an error of ours; it is logged under request id {trace_id}")
            return amqp_messages.judge(defect, history, self._settings.delays, random.choice)
        return None

    def _accept(self, request_type: str, message: DeliveredMessage, trace_id: str) -> None:
        """In a thread. The deadline begins only here: waiting for the thread is no fault of the sidecar's."""
        body = amqp_messages.payload(message.body, message.header.properties.content_encoding)
        self._functions[request_type].accept(body, time.monotonic() + DEADLINE_SECONDS, trace_id)

    def _trouble(self) -> str:
        """Why a message sent now would not be consumed; empty where it would."""
        if not self._outlet.open:
            return "there is no connection to the broker"
        idle = [intake.source.queue for intake in self._intakes if not intake.consuming]
        return f"not consumed: {', '.join(idle)}" if idle else ""


def _tell(verdict: Verdict, trace_id: str) -> None:
    error, history = verdict.error, verdict.history
    fields = {"request_id": trace_id, "queue": history.queue, "code": error.code, "attempts": history.attempts}
    if isinstance(verdict, DeadLetter):
        log.error("a message became a dead letter: %s", error.detail, extra=fields)
    else:
        seconds = {"seconds": verdict.seconds}
        log.warning("a message waits for %d s: %s", verdict.seconds, error.detail, extra=fields | seconds)


async def serve(settings: Settings, socket_path: str) -> None:
    """The whole life of the process: signals, and the door."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await Door(settings, socket_path).run(stop)


def main() -> int:
    """Gives the exit code."""
    logging.config.dictConfig(logs.settings(os.environ.get("ORCHESTRATOR_LOG_LEVEL", "INFO")))
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it reports, it raises as well, and we say it once
    try:
        settings, socket_path = amqp_settings.read(os.environ)
    except OrchestratorError as error:
        log.critical("%s", error.detail)
        return exit_codes.CONFIGURATION
    asyncio.run(serve(settings, socket_path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
