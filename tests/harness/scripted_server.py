"""An HTTP server that runs a script on each connection, which controls every byte sent. It records all requests."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

Script = Callable[["Conversation"], None]


class ReceivedRequest(msgspec.Struct, frozen=True):
    """One request. The headers' names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Conversation:
    """The server's side of one connection. `number` counts the server's connections from 1."""

    def __init__(self, server: ScriptedServer, connection: socket.socket, number: int) -> None:
        self._server = server
        self._socket = connection
        self._received = b""
        self.number = number

    def receive(self) -> ReceivedRequest:
        """The next request. Raises EOFError if the client has closed the connection instead."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        size = int(headers.get("content-length", 0))
        while len(self._received) < size:
            self._receive()
        body, self._received = self._received[:size], self._received[size:]
        request = ReceivedRequest(method, path, headers, body)
        self._server.asked.append(request)
        return request

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise EOFError
        self._received += received

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        """Send a complete answer. The connection can serve another request after it."""
        lines = [f"HTTP/1.1 {status} So", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.send("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body)

    def reset(self) -> None:
        """Close with RST instead of FIN: SO_LINGER with a timeout of 0 (socket(7))."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Send nothing for `seconds`, or until the server is closed."""
        self._server.ended.wait(seconds)

    def tunnel(self) -> None:
        """Act as a proxy: receive a CONNECT, then copy data in both directions."""
        host, _, port = self.receive().path.rpartition(":")
        with socket.create_connection((host, int(port))) as target:
            self.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            backward = threading.Thread(target=_copy, args=(target, self._socket), daemon=True)
            backward.start()
            _copy(self._socket, target)
            backward.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


class ScriptedServer:
    """Listens on a free port of this host. Each connection has its own thread. `asked` lists all requests."""

    def __init__(self, script: Script, context: ssl.SSLContext | None) -> None:
        self._script = script
        self.context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.asked: list[ReceivedRequest] = []
        self.connections = 0
        self.ended = threading.Event()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.connections += 1
            thread = threading.Thread(target=self._converse, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(20)
        with suppress(OSError, EOFError), connection:
            if self.context:
                with self.context.wrap_socket(connection, server_side=True) as secured:
                    self._script(Conversation(self, secured, number))
            else:
                self._script(Conversation(self, connection, number))

    def close(self) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def answer_all(conversation: Conversation) -> None:
    """The default script: answer each request with 200."""
    while True:
        conversation.receive()
        conversation.answer()


@contextmanager
def scripted_server(script: Script = answer_all, context: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server in a thread."""
    server = ScriptedServer(script, context)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)
