"""Sending a task through RabbitMQ: repeated until the broker confirms it, which then keeps it until its jobs exist."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiormq
from aiormq.exceptions import AMQPError

from examples.atlas.clients.retry import Jobs, NotAccepted, OnRetry, Retryable, repeat
from examples.atlas.request_types import REQUEST_TYPES

EXCHANGE = "atlas-jobs"
POLL_SECONDS = 0.5
"""Between two calls of `find_jobs`."""


class AmqpClient:
    """Publishes to the broker at `url`. A message has no answer, so `find_jobs` gives the jobs of a run id."""

    def __init__(self, url: str, find_jobs: Callable[[str], Jobs]) -> None:
        self._url = url
        self._find_jobs = find_jobs

    def send(self, name: str, payload: dict[str, Any], timeout: float, on_retry: OnRetry) -> Jobs:
        """The created jobs. Raises NotAccepted where there are none after `timeout` seconds."""
        end = time.monotonic() + timeout
        repeat(lambda: self._publish(name, payload), timeout, on_retry)
        while not (jobs := self._find_jobs(payload["run_id"])):
            if time.monotonic() > end:
                raise NotAccepted(
                    f"no job within {timeout:.0f} s; see the dead-letter queue and the Orchestrator's log"
                )
            time.sleep(POLL_SECONDS)
        return jobs

    def _publish(self, name: str, payload: dict[str, Any]) -> None:
        try:
            asyncio.run(publish(self._url, REQUEST_TYPES[name].message_type, json.dumps(payload).encode()))
        except (AMQPError, OSError) as error:
            raise Retryable(f"the broker did not confirm the message: {error}") from error


async def publish(url: str, routing_key: str, body: bytes) -> None:
    """Publish a message. Returns once the broker has stored it in a queue (persistent, mandatory, confirmed)."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        properties = aiormq.spec.Basic.Properties(
            delivery_mode=2, content_type="application/json", message_id=uuid.uuid4().hex
        )
        await channel.basic_publish(
            body, exchange=EXCHANGE, routing_key=routing_key, properties=properties, mandatory=True
        )
    finally:
        await connection.close()
