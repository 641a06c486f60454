"""A hostile HTTP/2 client: h2 on a plain socket, and raw bytes for what h2 refuses to send."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import h2.config
import h2.connection
import h2.events
import msgspec

PATH = "/orchestrator.v1.Tasks/Analysis"


class Answer(msgspec.Struct):
    """What the server sent on one stream."""

    headers: dict[str, str] = {}
    data: bytes = b""
    ended: bool = False
    reset: bool = False

    @property
    def status(self) -> str:
        return self.headers.get("grpc-status", "")


class Http2:
    """One connection."""

    def __init__(self, port: int, *, patience: float = 15.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.closed = False
        self._flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def start(self, *more: tuple[str, str], end: bool = False, **pseudo: str) -> int:
        """Open a call; header fields given replace the usual ones, and empty ones leave them out."""
        usual = {
            ":method": "POST", ":scheme": "http", ":path": PATH, ":authority": "a",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        usual |= {f":{name}": value for name, value in pseudo.items()}
        replaced = {name for name, _ in more}
        fields = [(name, value) for name, value in usual.items() if value and name not in replaced]
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*fields, *((name, value) for name, value in more if value)], end_stream=end)
        self.answers[stream] = Answer()
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        for at in range(0, max(len(data), 1), 16384):
            piece = data[at : at + 16384]
            while self.h2.local_flow_control_window(stream) < len(piece):
                self._receive()
                if self.closed or self.answers[stream].ended or self.answers[stream].reset:
                    return
            self.h2.send_data(stream, piece, end_stream=end and at + 16384 >= len(data))
            self._flush()

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream)
        self._flush()

    def ping(self) -> None:
        self.h2.ping(b"12345678")
        self._flush()

    def answer(self, stream: int) -> Answer:
        """Wait until it is complete, or the connection has ended."""
        answer = self.answers[stream]
        while not (answer.ended or answer.reset or self.closed):
            self._receive()
        return answer

    def until_closed(self, seconds: float = 15) -> bool:
        until = time.monotonic() + seconds
        while not self.closed and time.monotonic() < until:
            self._receive()
        return self.closed

    def _flush(self) -> None:
        try:
            self.socket.sendall(self.h2.data_to_send())
        except OSError:
            self.closed = True

    def _receive(self) -> None:
        try:
            received = self.socket.recv(65536)
        except ConnectionError:
            received = b""
        if not received:
            self.closed = True
            return
        for event in self.h2.receive_data(received):
            self._take(event)
        if not self.closed and self.goaway is None:
            self._flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            answer.headers.update(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = True


def framed(message: bytes, *, size: int | None = None, compressed: int = 0) -> bytes:
    """A message as gRPC frames it; `size` replaces its real length."""
    return struct.pack("!BI", compressed, len(message) if size is None else size) + message
