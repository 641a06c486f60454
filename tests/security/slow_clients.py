"""Clients that are slow in every way: `python -m tests.security.slow_clients` prints the table for both servers.

A row is one kind of client, 500 of them at once. Its columns: the slowest good request and the slowest health check
while they are connected (seconds), when the last of them was disconnected (seconds), and what they were answered.
"""

from __future__ import annotations

import json
import math
import re
import resource
import select
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import hpack
import jwt
import msgspec
import yaml

from tests.conftest import make_key_pair
from tests.harness.processes import ROOT, Processes, eventually, free_port
from tests.harness.wire import Connection, head, request
from tests.protocols.http2 import Http2

MANY = 500
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GRPC_PATH = "/orchestrator.v1.Tasks/Analysis"

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


class Kind(msgspec.Struct, frozen=True):
    """Bytes that are sent at once, then `drip` once a second. A client that does not read has a small buffer."""

    name: str
    first: bytes
    drip: bytes = b""
    half_close: bool = False
    reads: bool = True


class Row(msgspec.Struct, frozen=True):
    """What happened. `ended` is infinite if a client was still connected at the end."""

    name: str
    good: float
    health: float
    ended: float
    answers: dict[str, int]

    def __str__(self) -> str:
        answers = ", ".join(f"{count} × {answer}" for answer, count in sorted(self.answers.items()))
        return f"| {self.name} | {self.good:.2f} | {self.health:.2f} | {self.ended:.0f} | {answers} |"


def http_kinds(token: str, document: bool = False) -> list[Kind]:
    """`document`: whether /openapi.json is served, the largest answer. Else it is an error with 800 bad fields."""
    known = {"Authorization": f"Bearer {token}"}
    body = {"Content-Length": 100_000}
    errors = request("POST", "/tasks/analysis", b'{"checks":[%s0]}' % (b"0," * 799), known)
    large = head("GET", "/openapi.json") if document else errors
    return [
        Kind("silent", b""),
        Kind("slow head", b"POST /tasks/analysis HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"a"),
        Kind("slow body", head("POST", "/tasks/analysis", body), b" "),
        Kind("slow body, token", head("POST", "/tasks/analysis", known | body) + b" " * 50_000, b" "),
        Kind("half-closed head", b"POST /tasks/analysis HTTP/1.1\r\nHost: a", half_close=True),
        Kind("half-closed body", head("POST", "/tasks/analysis", known | body), half_close=True),
        Kind("non-reading", large, reads=False),
    ]


def grpc_kinds(token: str) -> list[Kind]:
    opened = PREFACE + frame(4)
    known, unknown = grpc_head(token), grpc_head("")
    check = frame(1, 4, 1, grpc_head("", "/grpc.health.v1.Health/Check")) + frame(0, 1, 1, bytes(5))
    answerless = PREFACE + frame(4, body=b"\0\4\0\0\0\0")  # SETTINGS_INITIAL_WINDOW_SIZE 0: no answer may be sent
    return [
        Kind("silent", b""),
        Kind("slow head", opened + frame(1, 4, 1, known)[:20], b"\0"),
        Kind("slow body", opened + frame(1, 4, 1, unknown) + frame(0, 0, 1, bytes(16000))[:20], b"\0"),
        Kind("slow body, token", opened + frame(1, 4, 1, known) + b"\0\x3e\x80\0\0\0\0\0\1\0\0\0\x80\0", b"\0"),
        Kind("half-closed head", opened + frame(1, 4, 1, known)[:20], half_close=True),
        Kind("half-closed body", opened + frame(1, 4, 1, known), half_close=True),
        Kind("non-reading", answerless + check, reads=False),
    ]  # fmt: skip


def frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, 4.1)."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def grpc_head(token: str, path: str = GRPC_PATH) -> bytes:
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a"),
        ("content-type", "application/grpc"), ("te", "trailers"),
    ]  # fmt: skip
    return hpack.Encoder().encode([*fields, *([("authorization", f"Bearer {token}")] if token else [])])


class Crowd:
    """Many clients of one kind, served by one thread."""

    def __init__(self, port: int, kind: Kind, many: int = MANY) -> None:
        self.answers: Counter[str] = Counter()
        self.ended = 0.0
        """When the last client was disconnected, in seconds since the start."""
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._port, self._kind, self._many = port, kind, many
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def left(self) -> int:
        """Clients that are still connected."""
        return len(self._clients)

    def __enter__(self) -> Crowd:
        self._thread.start()
        self._connected.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = dripped = time.monotonic()
        with select.epoll() as waiting, ExitStack() as stack:
            for _ in range(self._many):
                client = stack.enter_context(self._connect())
                self._clients[client.fileno()] = (client, bytearray())
                waiting.register(client, select.EPOLLRDHUP | (select.EPOLLIN if self._kind.reads else 0))
            self._connected.set()
            while self._clients and not self._stop.is_set():
                for number, event in waiting.poll(0.2):
                    self._receive(number, event, began)
                if self._kind.drip and time.monotonic() - dripped > 1:
                    dripped = time.monotonic()
                    for client, _ in self._clients.values():
                        with suppress(OSError):
                            client.send(self._kind.drip)

    def _connect(self) -> socket.socket:
        client = socket.socket()
        if not self._kind.reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", self._port))
        client.setblocking(False)
        with suppress(OSError):
            client.send(self._kind.first)
            if self._kind.half_close:
                client.shutdown(socket.SHUT_WR)
        return client

    def _receive(self, number: int, event: int, began: float) -> None:
        client, received = self._clients[number]
        try:
            new = client.recv(65536) if self._kind.reads else b""
        except BlockingIOError:
            return
        except OSError:
            new = b""
        received.extend(new)
        if not new:
            del self._clients[number]
            client.close()
            self.ended = time.monotonic() - began
            self.answers[answer(bytes(received))] += 1


def answer(received: bytes) -> str:
    """An HTTP status, a gRPC status, or what else the client got."""
    if match := _STATUS.match(received):
        return match[1].decode()
    status, at, decoder = "", 0, hpack.Decoder()
    while len(received) >= at + 9:
        size, kind = int.from_bytes(received[at : at + 3], "big"), received[at + 3]
        if kind == 1:
            fields = dict(decoder.decode(received[at + 9 : at + 9 + size]))
            status = f"gRPC {fields.get('grpc-status', status)}"
        at += 9 + size
    return status or "closed"


def row(kind: Kind, port: int, good: Callable[[], None], health: Callable[[], None], patience: float = 25) -> Row:
    """Connect the crowd, send good requests and health checks meanwhile, and wait until the crowd is disconnected."""
    slowest = {"good": 0.0, "health": 0.0}
    with Crowd(port, kind) as crowd:
        began = time.monotonic()
        while crowd.left and time.monotonic() < began + patience:
            for name, ask in (("good", good), ("health", health)):
                asked = time.monotonic()
                try:
                    ask()
                    took = time.monotonic() - asked
                except (OSError, AssertionError, EOFError):
                    took = math.inf
                slowest[name] = max(slowest[name], took)
            time.sleep(0.25)
        ended = crowd.ended if not crowd.left else math.inf
        answers = dict(crowd.answers) | ({"still connected": crowd.left} if crowd.left else {})
    return Row(kind.name, slowest["good"], slowest["health"], ended, answers)


TITLES = "| clients | good request, s | health check, s | last ended, s | answers |\n|---|---|---|---|---|"


def good_request(port: int, token: str) -> Callable[[], None]:
    known = {"Authorization": f"Bearer {token}"}
    sample = json.loads((ROOT / "examples" / "analysis.json").read_text())

    def ask() -> None:
        body = json.dumps(sample | {"run_id": str(uuid.uuid4())}).encode()
        with Connection(port, patience=12) as connection:
            assert connection.ask(request("POST", "/tasks/analysis", body, known)).status == 201

    return ask


def health_checks(port: int) -> Callable[[], None]:
    def ask() -> None:
        for path in ("/livez", "/readyz"):
            with Connection(port, patience=12) as connection:
                assert connection.ask(head("GET", path)).status == 200

    return ask


def serves_document(port: int) -> bool:
    with Connection(port, patience=12) as connection:
        return connection.ask(head("GET", "/openapi.json")).status == 200


def good_call(port: int, token: str) -> Callable[[], None]:
    """A call whose message has no run, so its right answer is INVALID_ARGUMENT: the token and the body were read."""
    return lambda: _call(port, GRPC_PATH, token, "3")


def health_call(port: int) -> Callable[[], None]:
    return lambda: _call(port, "/grpc.health.v1.Health/Check", "", "0")


def _call(port: int, path: str, token: str, status: str) -> None:
    with Http2(port, patience=12) as client:
        fields = [("authorization", f"Bearer {token}")] if token else []
        stream = client.start(*fields, path=path)
        client.send(stream, bytes(5), end=True)
        assert client.answer(stream).status == status


@contextmanager
def servers(*flags: str) -> Iterator[tuple[int, int, str]]:
    """gunicorn and the gRPC server as they are deployed: their ports, and a good token."""
    atlas = make_key_pair()
    with tempfile.TemporaryDirectory(prefix="slow-") as directory:
        work = Path(directory)
        processes = Processes(work)
        document = {
            "runner": {"id": "runner-1", "privateKey": make_key_pair().private},
            "deepsource": {"host": "http://127.0.0.1:9", "publicKey": atlas.public},
            "driver": "memory",
            "sidecar": {"socket": str(work / "runner.sock"), "workers": 1},
        }
        (work / "orchestrator.yaml").write_text(yaml.safe_dump(document))
        try:
            processes.sidecar(work / "orchestrator.yaml")
            http, grpc = free_port(), free_port()
            processes.gunicorn("functions.bundle:app", http, work / "runner.sock", *flags, workers=2)
            section = json.dumps({"bind": f"127.0.0.1:{grpc}"})
            environment = {"ORCHESTRATOR_GRPC": section, "ORCHESTRATOR_SOCKET": str(work / "runner.sock")}
            processes.python("-m", "functions.grpc", **environment)
            for ask in (health_checks(http), health_call(grpc)):
                eventually(lambda ask=ask: _works(ask), "the servers are ready", 30)
            claims = {"exp": int(time.time()) + 3600, "runner_id": "runner-1"}
            yield http, grpc, jwt.encode(claims, atlas.private, algorithm="RS256")
        finally:
            processes.end()


def _works(ask: Callable[[], None]) -> bool:
    with suppress(OSError, AssertionError, EOFError):
        ask()
        return True
    return False


def raise_limit() -> None:
    """Each client is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    raise_limit()
    with servers(*sys.argv[1:]) as (http, grpc, token):
        for title, kinds, port, good, health in (
            ("HTTP", http_kinds(token, serves_document(http)), http, good_request(http, token), health_checks(http)),
            ("gRPC", grpc_kinds(token), grpc, good_call(grpc, token), health_call(grpc)),
        ):
            print(f"\n{title}\n\n{TITLES}", flush=True)
            for kind in kinds:
                print(row(kind, port, good, health), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
