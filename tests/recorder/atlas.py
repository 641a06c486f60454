"""An atlas that only records: `python -m tests.recorder.atlas HOST PORT FILE`. See `deliveries` for its client.

It writes one line of JSON to FILE for each request, before it answers. It reads its modes from the standard input, one
per line, and confirms each on the standard output:

    accept          answer 200 at once
    slow SECONDS    answer 200 after so many seconds
    fail CODE       answer with this status
    hang            read the request, then answer nothing until the mode changes; then close the connection
    refuse          close the listener and all connections: the kernel refuses new ones

It is a process of its own, so that neither a slow test nor a kill of the code under test delays or loses a record.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_BODY = 8 * 1024 * 1024


class Recording:
    """The file of records and the present mode, shared by all connections."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.mode, self.operand = "accept", 0.0
        self.changed = threading.Event()
        self.connections: set[socket.socket] = set()

    def set(self, line: str) -> None:
        """Take the mode of one line of input."""
        mode, _, operand = line.strip().partition(" ")
        self.mode, self.operand = mode, float(operand or 0)
        self.changed.set()
        self.changed = threading.Event()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record. A write of one line to a file opened with O_APPEND is atomic."""
        os.write(self._file, json.dumps(record).encode() + b"\n")


class AtlasServer(ThreadingHTTPServer):
    """Accepts connections until it is closed."""

    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], recording: Recording) -> None:
        self.recording = recording
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: clients are killed during the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: AtlasServer

    def setup(self) -> None:
        super().setup()
        self.server.recording.connections.add(self.connection)

    def finish(self) -> None:
        self.server.recording.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LONGEST_BODY))
        at = time.monotonic()
        recording = self.server.recording
        mode, operand, changed = recording.mode, recording.operand, recording.changed
        status = {"hang": 0, "fail": int(operand)}.get(mode, 200)
        recording.write({"at": at, "path": self.path, "status": status, **_summary(body)})
        if mode == "hang":
            changed.wait()
            self.close_connection = True
            return
        if mode == "slow":
            changed.wait(operand)
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def _summary(body: bytes) -> dict[str, Any]:
    """What identifies a result, and what it says."""
    try:
        document = json.loads(body)
        kwargs = document["kwargs"]
        status = kwargs["status"]
    except (ValueError, KeyError, TypeError):
        return {"unreadable": body[:200].decode(errors="replace"), "size": len(body)}
    plain = not isinstance(status, dict)
    return {
        "id": document.get("id", ""),
        "run_id": kwargs.get("run_id", ""),
        "code": status if plain else status.get("code"),
        "sentence": "" if plain else str(status.get("hmessage", ""))[:300],
        "evidence": "" if plain else str(status.get("err", ""))[:2000],
        "size": len(body),
    }


class Listener:
    """The server, which a mode can close and open again on the same port."""

    def __init__(self, address: tuple[str, int], recording: Recording) -> None:
        self._recording = recording
        self._server: AtlasServer | None = None
        self.address = address
        self.open()

    def open(self) -> None:
        """Listen, unless it does."""
        if self._server is None:
            self._server = AtlasServer(self.address, self._recording)
            self.address = (self.address[0], self._server.server_address[1])
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Close the listener and all its connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._recording.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def main(host: str, port: str, path: str) -> None:
    recording = Recording(path)
    listener = Listener((host, int(port)), recording)
    print(f"listening {listener.address[1]}", flush=True)
    for line in sys.stdin:
        recording.set(line)
        if recording.mode == "refuse":
            listener.close()
        else:
            listener.open()
        print(line.strip(), flush=True)
    os._exit(0)  # threads that still wait for a client must not delay the exit


if __name__ == "__main__":
    main(*sys.argv[1:])
