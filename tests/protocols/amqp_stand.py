"""A broker, a sidecar and consumers for one test, and atlas's side of the broker.

atlas is simulated with pika, a client library that the consumer does not use.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pika.exceptions

from examples.broker import Broker
from runner.request_types import by_spelling
from tests.harness.processes import Process, Processes, eventually
from tests.protocols.conftest import Outcome
from tests.protocols.conftest import _path as field_path

TYPES = tuple(by_spelling())


class Stand:
    """The processes of one test. Its names on the broker are unique, so tests can share a broker."""

    consumer_module: tuple[str, ...] = ("functions.amqp",)

    def __init__(self, broker: Broker, processes: Processes, directory: Path, module: str = "runner") -> None:
        self.broker = broker
        self.exchange = f"jobs-{uuid.uuid4().hex[:8]}"
        self.dead_letters = f"{self.exchange}.dead-letter"
        self._processes = processes
        self._directory, self._module = directory, module
        self.socket = directory / "runner.sock"
        self.sidecars: list[Process] = []

    def queue(self, request_type: str = "analysis_run") -> str:
        return f"{self.exchange}.{request_type}"

    def start_sidecar(self) -> Process:
        process = self._processes.sidecar(self._directory / "orchestrator.yaml", self._module)
        self.sidecars.append(process)
        eventually(self.socket.exists, "the sidecar listens")
        return process

    def consumer(self, *, ready: bool = True, access: Mapping[str, str] | None = None, **section: Any) -> Process:
        """`python -m functions.amqp`, consuming, with these keys of the section `rabbitmq`.

        `access` has the broker variables, without their prefix: `{"URL": …, "CA_FILE": …}`.
        """
        queues = {name: {"queue": self.queue(name)} for name in by_spelling()}
        given = {"exchange": self.exchange, "queues": queues, "delays": [1, 2], **section}
        process = self._processes.python(
            *("-m", *self.consumer_module),
            ORCHESTRATOR_SOCKET=str(self.socket),
            ORCHESTRATOR_RABBITMQ=json.dumps(given),
            **{f"ORCHESTRATOR_AMQP_{name}": value for name, value in (access or {"URL": self.broker.url}).items()},
        )
        if ready:
            eventually(lambda: '"message":"ready"' in process.said(), f"it is ready; see {process.log}", 30)
        return process

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def publish(self, bodies: Sequence[bytes], request_type: str = "analysis_run", **properties: Any) -> None:
        """Publish persistent messages, and wait for each confirmation."""
        with self.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(
                    self.exchange,
                    request_type,
                    body,
                    pika.BasicProperties(**({"delivery_mode": 2} | properties)),
                    mandatory=True,
                )

    def depth(self, queue: str) -> int:
        """Messages that wait in it; those in flight are not counted. -1 where it is missing."""
        try:
            with self.channel() as channel:
                count: int = channel.queue_declare(queue, passive=True).method.message_count
                return count
        except pika.exceptions.ChannelClosedByBroker:
            return -1

    def take(self, queue: str) -> tuple[dict[str, Any], Any, bytes] | None:
        """The headers, all properties and the body of its next message, which is removed."""
        with self.channel() as channel:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            return (properties.headers, properties, body) if method else None

    def dead_letter(self) -> tuple[dict[str, Any], Any, bytes]:
        return eventually(lambda: self.take(self.dead_letters), "there is a dead letter")  # type: ignore[return-value]

    def log_command(self) -> list[dict[str, Any]]:
        """The lines of the sidecars' command logs, in order."""
        lines = [line for process in self.sidecars for line in process.said().splitlines()]
        return [json.loads(line) for line in lines if "orchestrator.commands" in line and line.endswith("}")]

    def jobs(self, state: str = "created") -> Counter[str]:
        """How often each job was answered with that state."""
        return Counter(name for line in self.log_command() for name, was in line["jobs"].items() if was == state)

    def waiting(self) -> int:
        """Messages in all queues but that of the dead letters."""
        return sum(max(0, self.depth(self.queue(name))) for name in by_spelling()) + self.delayed()

    def delayed(self) -> int:
        return sum(max(0, self.depth(f"{self.exchange}.delay.{seconds}")) for seconds in (1, 2))


class AmqpClient:
    """A message has no answer. Its outcome is found in the dead letters, and in the logs by its id."""

    name = "amqp"

    def __init__(self, stand: Stand, consumer: Process) -> None:
        self._stand, self._consumer = stand, consumer

    def send(self, request_type: str, document: dict[str, Any]) -> Outcome:
        identity = uuid.uuid4().hex
        self._stand.publish([json.dumps(document).encode()], request_type, message_id=identity)
        return eventually(lambda: self._taken(identity) or self._failed(identity), "it has an outcome")

    def _taken(self, identity: str) -> Outcome | None:
        for line in self._stand.log_command():
            if (line["request_id"], line["message"]) == (identity, "accepted"):
                return Outcome(jobs=tuple(line["jobs"].items()))
        return None

    def _failed(self, identity: str) -> Outcome | None:
        if identity not in self._consumer.said():
            return None
        said = next(line for line in self._consumer.said().splitlines() if identity in line)
        line = json.loads(said)
        if "waits" in line["message"]:
            return Outcome(code=line["code"], retry_after=line["seconds"])
        headers, properties, _ = self._stand.dead_letter()
        assert (properties.message_id, headers["x-orchestrator-code"]) == (identity, line["code"])
        errors = headers.get("x-orchestrator-errors", ())
        return Outcome(code=line["code"], fields=frozenset(field_path(each["pointer"]) for each in errors))
