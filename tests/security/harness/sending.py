"""Sends inputs of the corpus over one protocol, and reads what the server answers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import grpc
import msgspec
import pika

from functions.grpc import tasks_pb2 as messages
from functions.http.openapi.document import PROBLEM
from runner.request_types import REQUEST_TYPES
from tests.harness.processes import eventually
from tests.harness.wire import Answer, Connection, chunked, request
from tests.protocols.amqp_stand import Stand
from tests.protocols.conftest import SERVICE, message, refusal
from tests.protocols.conftest import _path as field_path
from tests.protocols.http2 import Http2, framed
from tests.security.harness.entries import ACCEPTED, Entry, as_bytes, expanded
from tests.security.harness.servers import Servers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
"""Of an HTTP/2 client: RFC 9113, section 3.4, with an empty SETTINGS frame."""


class Outcome(msgspec.Struct, frozen=True):
    """What came back. `pointers` are written as the protocol writes them; `size` counts the answers' bytes."""

    code: str = ""
    pointers: frozenset[str] = frozenset()
    statuses: tuple[int | str, ...] = ()
    size: int = 0


class Sender:
    """One protocol. Every input has a run's id of its own."""

    name: str

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def run(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _token(self, value: Any) -> Any:
        """A header's value, with the recipe `$token` carried out."""
        if isinstance(value, dict) and "$token" in value:
            return f"Bearer {self._servers.make_token(value['$token'])}"
        return expanded(value)


class HttpSender(Sender):
    """Bytes on a socket."""

    name = "http"

    def send(self, entry: Entry, number: int, patience: float = 15.0) -> Outcome:
        with Connection(self._servers.http_port, patience=patience) as connection:
            with suppress(ConnectionError):  # the server may answer and close before it has received everything
                connection.send(self._bytes(entry, self.run(number)))
                if entry.wire is not None and entry.half_close:
                    connection.half_close()
            answers = connection.answers_to_the_end() if entry.wire is not None else [connection.answer()]
        return _read_http(answers)

    def expects(self, entry: Entry, outcome: Outcome) -> bool:
        if entry.code == ACCEPTED and not entry.status:
            return outcome.statuses in ((200,), (201,))
        named = outcome.code == entry.code or (entry.statuses[-1] not in _NAMED and outcome.code != _NO_PROBLEM)
        right = outcome.statuses == tuple(entry.statuses) and named
        return right and outcome.pointers >= frozenset(entry.pointers)

    def _bytes(self, entry: Entry, run: str) -> bytes:
        usual = {"Authorization": f"Bearer {self._servers.token}", "X-Request-ID": run}
        changed = {name.title(): self._token(value) for name, value in entry.headers.items()}
        headers = {name: value for name, value in {**usual, **changed}.items() if value is not None}
        body = entry.payload(run)
        if entry.wire is None:
            path = entry.path or REQUEST_TYPES[entry.request_type].paths[0]
            return request(entry.method, path, body, headers)
        values = {
            b"{token}": self._servers.token.encode(),
            b"{length}": str(len(body)).encode(),
            b"{chunked}": chunked(body),
            b"{body}": body,
        }
        wire = as_bytes(entry.wire)
        for name, value in values.items():
            wire = wire.replace(name, value)
        return wire


_NO_PROBLEM = "an error that is not problem+json"
_NAMED = {200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504}
"""Statuses whose code is in the table of errors; for others, the server's own refusals, any code is right."""


def _read_http(answers: list[Answer]) -> Outcome:
    statuses, size = tuple(answer.status for answer in answers), sum(len(answer.body) for answer in answers)
    if not answers or answers[-1].status < 300:
        return Outcome(ACCEPTED if answers else "", frozenset(), statuses, size)
    if answers[-1].headers.get("content-type") != PROBLEM:
        return Outcome(_NO_PROBLEM, frozenset(), statuses, size)
    problem = answers[-1].problem
    pointers = frozenset(each["pointer"] for each in problem.get("errors", ()))
    return Outcome(problem["code"], pointers, statuses, size)


class GrpcSender(Sender):
    """grpcio for messages, HTTP/2 frames for everything else."""

    name = "grpc"

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{servers.grpc_port}")

    def send(self, entry: Entry, number: int, patience: float = 15.0) -> Outcome:
        if entry.wire is not None:
            return self._frames(as_bytes(entry.wire), patience)
        path = entry.path or f"/{SERVICE}/{REQUEST_TYPES[entry.request_type].rpc}"
        if entry.headers or entry.path or entry.data is not None or entry.method != "POST":
            return self._stream(entry, path, self.run(number), patience)
        call = self.channel.unary_unary(path, response_deserializer=messages.Accepted.FromString)
        try:
            answer = call(
                self.message(entry, self.run(number)),
                timeout=patience,
                metadata=(("authorization", f"Bearer {self._servers.token}"), ("x-request-id", self.run(number))),
            )
        except grpc.RpcError as error:
            refused = refusal(error)
            return Outcome(refused.code, refused.fields, (error.code().name,), len(error.details()))
        return Outcome(ACCEPTED, frozenset(), ("OK",), answer.ByteSize())

    def expects(self, entry: Entry, outcome: Outcome) -> bool:
        wanted = frozenset(field_path(pointer) for pointer in entry.pointers)
        named = outcome.code in ("", entry.code)
        return outcome.statuses == (entry.grpc_status,) and named and outcome.pointers >= wanted

    def message(self, entry: Entry, run: str) -> bytes:
        if entry.body is not None:
            return as_bytes(entry.body)
        encoded: bytes = message(entry.request_type, entry.document(run)).SerializeToString()
        return encoded

    def _stream(self, entry: Entry, path: str, run: str, patience: float) -> Outcome:
        data = framed(self.message(entry, run)) if entry.data in (None, "@good") else as_bytes(entry.data)
        headers: list[tuple[str, str]] = []
        for name, given in {"authorization": f"Bearer {self._servers.token}", **entry.headers}.items():
            values = given if isinstance(given, list) else [given]
            headers += [(name, self._token(value) or "") for value in values]
        with Http2(self._servers.grpc_port, patience=patience) as client:
            stream = client.start(*headers, path=path, method=entry.method)
            client.send(stream, data, end=True)
            answer = client.answer(stream)
        size = sum(len(value) for value in answer.headers.values()) + len(answer.data)
        if answer.headers.get(":status") != "200":
            return Outcome("", frozenset(), (f"http {answer.headers.get(':status')}",), size)
        name = next(each.name for each in grpc.StatusCode if each.value[0] == int(answer.status))
        return Outcome("", frozenset(), (name,), size)

    def _frames(self, frames: bytes, patience: float) -> Outcome:
        size, address = 0, ("127.0.0.1", self._servers.grpc_port)
        with socket.create_connection(address, timeout=patience) as connection, suppress(ConnectionError):
            connection.sendall(PREFACE + frames)
            while received := connection.recv(65536):
                size += len(received)
        return Outcome("", frozenset(), ("closed",), size)


class AmqpSender(Sender):
    """Messages on the broker. All are published first, since an answer is a dead letter or a line of the log."""

    name = "amqp"

    def send_all(self, entries: Iterable[tuple[int, Entry]], seconds: float = 60.0) -> dict[int, Outcome]:
        """The outcomes, by the entries' numbers. Raises AssertionError where one is missing after `seconds`."""
        assert self._servers.stand is not None
        numbered = dict(entries)
        self._publish(self._servers.stand, numbered)
        outcomes: dict[int, Outcome] = {}
        until = time.monotonic() + seconds
        with self._servers.stand.channel() as channel:
            while len(outcomes) < len(numbered) and time.monotonic() < until:
                outcomes |= self._dead_letters(self._servers.stand, channel)
                accepted = self._servers.accepted() | self._servers.accepted_runs()
                outcomes |= {each: Outcome(ACCEPTED) for each in numbered if self.run(each) in accepted}
                time.sleep(0.05)
        missing = [entry.name for number, entry in numbered.items() if number not in outcomes]
        assert not missing, f"messages without an outcome: {missing}"
        return outcomes

    def expects(self, entry: Entry, outcome: Outcome) -> bool:
        return outcome.code == entry.code and outcome.pointers >= frozenset(entry.pointers[:20])

    def _publish(self, stand: Stand, numbered: dict[int, Entry]) -> None:
        with stand.channel() as channel:
            channel.confirm_delivery()
            for number, entry in numbered.items():
                given = expanded(entry.properties)
                headers = {"x-corpus": str(number), **given.pop("headers", {})}
                properties = {"message_id": self.run(number), "delivery_mode": 2, **given, "headers": headers}
                body = entry.payload(self.run(number))
                channel.basic_publish(
                    stand.exchange, entry.request_type, body, pika.BasicProperties(**properties), mandatory=True
                )

    def _dead_letters(self, stand: Stand, channel: Any) -> dict[int, Outcome]:
        found = {}
        while True:
            method, properties, _ = channel.basic_get(stand.dead_letters, auto_ack=True)
            if method is None:
                return found
            headers = properties.headers
            number = int(headers.get("x-corpus") or properties.message_id.removeprefix("amqp-"))
            pointers = frozenset(each["pointer"] for each in headers.get("x-orchestrator-errors", ()))
            found[number] = Outcome(headers["x-orchestrator-code"], pointers, (), len(json.dumps(headers, default=str)))


def works(servers: Servers) -> None:
    """Assert that each protocol still accepts a good request, and that no process has ended."""
    good = Entry(name="a good request", protocols=(), code=ACCEPTED)
    number = time.monotonic_ns()
    for sender in (HttpSender(servers), GrpcSender(servers)):
        outcome = sender.send(good, number)
        assert sender.expects(good, outcome), (sender.name, outcome)
    if servers.stand:
        AmqpSender(servers).send_all([(number, good)])
    assert all(process.runs() for process in servers.processes().values())
    eventually(lambda: servers.get("/readyz").status == 200, "HTTP is ready")
