"""The three protocols on real server processes, before one sidecar with the memory driver."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
import yaml

from examples.broker import Broker, BrokerMissing, install
from tests.conftest import KeyPair, make_key_pair
from tests.harness.processes import Process, Processes, eventually, free_port
from tests.harness.wire import Answer, Connection, head
from tests.protocols.amqp_stand import Stand


class Servers:
    """The processes, how to reach them, and what they have done. `broker` is None where this host has no RabbitMQ."""

    def __init__(self, directory: Path, processes: Processes, keys: KeyPair, broker: Broker | None) -> None:
        self.stand: Stand | None = None
        self.http_port, self.grpc_port = free_port(), free_port()
        self._keys = keys
        self._commands: list[dict[str, Any]] = []
        self._read = 0
        self.token = self.make_token({})
        socket_path = directory / "runner.sock"
        self.sidecar = processes.sidecar(_configuration(directory, socket_path, keys))
        self.http = processes.gunicorn("functions.bundle:app", self.http_port, socket_path)
        self.grpc = processes.python(
            *("-m", "functions.grpc"),
            ORCHESTRATOR_GRPC=json.dumps({"bind": f"127.0.0.1:{self.grpc_port}"}),
            ORCHESTRATOR_SOCKET=str(socket_path),
        )
        eventually(lambda: self.get("/readyz").status == 200, "HTTP is ready", 30)
        eventually(lambda: "serving gRPC" in self.grpc.said(), "gRPC is ready", 30)
        if broker is not None:
            self.stand = Stand(broker, processes, directory)
            self.stand.sidecars.append(self.sidecar)
            self.consumer = self.stand.consumer(delays=[3600])  # a message that is delayed does not come back

    def make_token(self, claims: dict[str, Any]) -> str:
        """A bearer token with these claims. `None` leaves one out; `$number` is a float, `$in` is seconds from now."""
        now = int(time.time())
        made = {"exp": now + 36000, "runner_id": "runner-1"} | {
            name: _claim(value, now) for name, value in claims.items()
        }
        present = {name: value for name, value in made.items() if value is not None}
        text = json.dumps(present).encode()
        return jwt.api_jws.encode(text, self._keys.private, algorithm="RS256")

    def processes(self) -> dict[str, Process]:
        """By protocol, and the sidecar."""
        found = {"sidecar": self.sidecar, "http": self.http, "grpc": self.grpc}
        return found | ({"amqp": self.consumer} if self.stand else {})

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """The answer to a request without a body; status 0 where there is no server."""
        with suppress(OSError, EOFError), Connection(self.http_port) as connection:
            return connection.ask(head(method, path, {name.replace("_", "-"): each for name, each in headers.items()}))
        return Answer(0, {}, b"")

    def commands(self) -> list[dict[str, Any]]:
        """The lines of the sidecar's command log, in order."""
        assert self.sidecar.runs()
        with self.sidecar.log.open("rb") as log:
            log.seek(self._read)
            new, _, _ = log.read().rpartition(b"\n")
        self._read += len(new)
        self._commands += [json.loads(line) for line in new.splitlines() if b"orchestrator.commands" in line]
        return self._commands

    def accepted(self) -> set[str]:
        """The ids of the requests that were accepted: the caller's own where it was valid."""
        return {line["request_id"] for line in self.commands() if line["message"] == "accepted"}

    def accepted_runs(self) -> set[str]:
        """The ids of the runs that a job was created, found or cancelled for: what follows the serial in its name."""
        return {_run_of(name) for line in self.commands() for name in line.get("jobs", {})}


def _claim(value: Any, now: int) -> Any:
    if isinstance(value, dict):
        return float(value["$number"]) if "$number" in value else now + value["$in"]
    return value


def _run_of(job: str) -> str:
    match = re.match(r"ssh-verify-(.+)|(?:analysis|autofix)-s[0-9]+-(.+)-[0-9]+|\w+-s[0-9]+-(.+)", job)
    assert match, job
    return next(each for each in match.groups() if each)


def _configuration(directory: Path, socket_path: Path, keys: KeyPair) -> Path:
    document = {
        "runner": {"id": "runner-1", "privateKey": keys.private},
        "deepsource": {"host": "https://atlas.example", "publicKey": keys.public},
        "driver": "memory",
        "sidecar": {"workers": 1, "socket": str(socket_path)},
    }
    path = directory / "orchestrator.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def started(directory: Path, *, amqp: bool = True) -> Iterator[Servers]:
    """All servers, until the block ends. Without a broker on this host there is no AMQP, unless CI=true demands it."""
    broker = _broker(directory / "broker") if amqp else None
    processes = Processes(directory)
    try:
        yield Servers(directory, processes, make_key_pair(), broker)
    finally:
        processes.end()
        if broker is not None:
            broker.stop()


def _broker(directory: Path) -> Broker | None:
    try:
        install()
    except BrokerMissing:
        if os.environ.get("CI") == "true":
            raise
        return None
    broker = Broker(directory)
    broker.start()
    return broker
