"""HTTP/1.1 as bytes on a socket: sends requests that a client library would not send, and parses the answers."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """A status, the headers with lower-case names, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The body of an error. Asserts that it is complete (RFC 9457) and agrees with the answer's headers."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:orchestrator:error:{problem['code']}"
        assert problem["title"]
        assert problem["detail"]
        assert problem["request_id"] == self.headers["x-request-id"]
        return problem


class Connection:
    """One TCP connection."""

    def __init__(self, port: int, *, patience: float = 20.0, buffer: int = 0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        if buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def half_close(self) -> None:
        """Close the sending side. Answers can still be received."""
        self._socket.shutdown(socket.SHUT_WR)

    def hears(self, seconds: float) -> bool:
        """Whether the server sends data or closes the connection within `seconds`."""
        return bool(self._received or select.select([self._socket], [], [], seconds)[0])

    def answer(self) -> Answer:
        """Receive the next answer. Raises EOFError if the server closes the connection instead."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        size = int(headers.get("content-length", 0))
        while len(self._received) < size:
            self._receive()
        body, self._received = self._received[:size], self._received[size:]
        return Answer(int(first.split()[1]), headers, body)

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise EOFError
        self._received += received

    def answers_to_the_end(self) -> list[Answer]:
        """Receive all answers until the server closes the connection."""
        answers = []
        with suppress(EOFError, ConnectionError):
            while True:
                answers.append(self.answer())
        return answers

    def drain(self) -> None:
        """Receive and discard data until the connection ends."""
        with suppress(OSError):
            while self._socket.recv(1 << 20):
                pass

    def abort(self) -> None:
        """Shut the connection down. A send or receive in another thread ends with an error."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def received_so_far(self) -> bytes:
        """The data that has arrived and was not consumed yet. Blocks until there is some."""
        return self._received + self._socket.recv(1 << 20, socket.MSG_PEEK)

    def at_end(self) -> bool:
        """Whether the server has closed the connection without sending more. Blocks until one of both happens."""
        try:
            return not self._received and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def segments(self) -> int:
        """The number of TCP segments with data received so far (tcpi_data_segs_in of struct tcp_info, linux/tcp.h)."""
        (count,) = struct.unpack_from("I", self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 152)
        return int(count)

    def ask(self, data: bytes) -> Answer:
        """Send a request and receive its answer."""
        self.send(data)
        return self.answer()


def head(method: str, path: str, headers: Mapping[str, str | int] | None = None) -> bytes:
    """A request line, the headers, and the empty line that ends them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: orchestrator"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str | int] | None = None) -> bytes:
    """A complete request, with Content-Length."""
    return (
        head(method, path, {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}) + body
    )


def chunked(*chunks: bytes) -> bytes:
    """A body in chunked transfer encoding, with the last chunk."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
