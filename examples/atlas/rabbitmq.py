"""Sending a task through RabbitMQ: until the broker has confirmed it, which from then on keeps it until jobs exist."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import aiormq
from aiormq.exceptions import AMQPError

from examples.atlas.orchestrator import NotAccepted

EXCHANGE = "atlas-jobs"
KEYS = {
    "analysis": "analysis_run",
    "autofix": "autofix_run",
    "transformer": "transformer_run",
    "ssh-verify": "ssh_verify_run",
    "cancel-check": "cancel_check_run",
    "commit": "patcher_run",
}
PAUSE = 0.5
"""Seconds between two sendings, and between two looks for the jobs."""

Jobs = list[dict[str, str]]


class Exchange:
    """Where tasks go. A message gets no answer, so `find` looks for the jobs of a run."""

    def __init__(self, url: str, find: Callable[[str], Jobs]) -> None:
        self._url = url
        self._find = find

    def send(
        self, kind: str, payload: dict[str, Any], patience: float, repeating: Callable[[str, float], None]
    ) -> Jobs:
        """The jobs that were made. Raises NotAccepted where none are after `patience` seconds."""
        end = time.monotonic() + patience
        while True:
            try:
                asyncio.run(publish(self._url, KEYS[kind], json.dumps(payload).encode()))
                break
            except (AMQPError, OSError) as error:
                if time.monotonic() > end:
                    raise NotAccepted(f"the broker did not take it within {patience:.0f} s: {error}") from error
                repeating(f"the broker did not take it: {error}", PAUSE)
            time.sleep(PAUSE)
        while not (jobs := self._find(payload["run_id"])):
            if time.monotonic() > end:
                raise NotAccepted(f"no job within {patience:.0f} s; see the dead letters and the log")
            time.sleep(PAUSE)
        return jobs


async def publish(url: str, key: str, body: bytes) -> None:
    """Returns once the broker has stored the message in a queue (persistent, mandatory, confirmed)."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        properties = aiormq.spec.Basic.Properties(
            delivery_mode=2, content_type="application/json", message_id=uuid.uuid4().hex
        )
        await channel.basic_publish(body, exchange=EXCHANGE, routing_key=key, properties=properties, mandatory=True)
    finally:
        await connection.close()
