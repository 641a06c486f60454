"""The benchmark of the RabbitMQ consumer: how fast it consumes a backlog."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

from examples.broker import Broker, BrokerMissing, install
from tests.bench import stack

BACKLOG, FIRST, LAST = 12_000, 11_000, 500
"""Messages in the queue at the start. The measurement begins when FIRST are left and ends when LAST are left."""


@contextmanager
def broker(work: Path) -> Iterator[Broker]:
    """A broker that is started for the benchmark and stopped after it."""
    try:
        install()
    except BrokerMissing as error:
        sys.exit(f"this measure needs a broker: {error}")
    started = Broker(work / "broker")
    try:
        started.start()
        yield started
    finally:
        started.stop()


def messages_per_second(broker: Broker, socket_path: Path, work: Path, queue_type: str) -> float:
    """Sample analyses per second, each a new run: from the queue until the job exists and the message is acknowledged.

    Raises TimeoutError if the queue does not reach the expected length in time.
    """
    exchange = f"bench-{uuid.uuid4().hex[:8]}"
    section = {"exchange": exchange, "queues": {"analysis_run": {"queue": exchange}}, "queueType": queue_type}
    environment = {
        "ORCHESTRATOR_AMQP_URL": broker.url,
        "ORCHESTRATOR_RABBITMQ": json.dumps(section),
        "ORCHESTRATOR_SOCKET": str(socket_path),
        "ORCHESTRATOR_LOG_LEVEL": "WARNING",
    }
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    try:
        channel = connection.channel()
        arguments = {"x-queue-type": "quorum"} if queue_type == "quorum" else {}
        channel.exchange_declare(exchange, "direct", durable=True)
        channel.queue_declare(exchange, durable=True, arguments=arguments)
        channel.queue_bind(exchange, exchange, "analysis_run")
        _publish(channel, exchange)
        _await_depth(channel, exchange, lambda depth: depth >= BACKLOG)
        with stack.process((sys.executable, "-m", "functions.amqp"), work / "log", environment):
            began, first = _await_depth(channel, exchange, lambda depth: depth <= FIRST)
            ended, last = _await_depth(channel, exchange, lambda depth: depth <= LAST)
            _await_depth(channel, exchange, lambda depth: depth == 0)
        channel.queue_delete(exchange)
    finally:
        connection.close()
    return (first - last) / (ended - began)


def _publish(channel: Any, exchange: str) -> None:
    sample = json.loads((stack.ROOT / "examples" / "analysis.json").read_text())
    before, after = json.dumps({**sample, "run_id": "RUN-ID"}).encode().split(b"RUN-ID")
    for number in range(BACKLOG):
        body = before + f"{exchange}-{number}".encode() + after
        channel.basic_publish(exchange, "analysis_run", body, pika.BasicProperties(delivery_mode=2))


def _await_depth(channel: Any, queue: str, reached: Any, seconds: float = 90) -> tuple[float, int]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        depth: int = channel.queue_declare(queue, passive=True).method.message_count
        if reached(depth):
            return time.monotonic(), depth
        time.sleep(0.02)
    raise TimeoutError(f"{queue} still has {depth} messages after {seconds} s")
