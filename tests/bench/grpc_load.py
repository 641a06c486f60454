"""The load generator for gRPC: the sample analysis over HTTP/2, in frames that are encoded beforehand.

`python -m tests.bench.grpc_load PORT SECONDS RUNS`. RUNS bounds the number of different runs; 0 makes each call a new
run. There are as many connections as wrk has for HTTP, with one call in flight on each, as in wrk. A client library
would cost more CPU than the server under measurement; this generator costs about 20 µs per call. An answer with a
message counts as a success, because a gRPC failure consists of headers only.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import struct
import subprocess
import sys
import time

from google.protobuf import json_format
from hpack import Encoder

from functions.grpc.tasks_pb2 import AnalysisRun
from tests.bench.load import CONNECTIONS
from tests.bench.stack import ROOT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_HEAD = struct.Struct("!BHBBI")
_RUN = "00000000-00000000"


def calls_per_second(port: int, seconds: int, *, runs: int = 0) -> float:
    """Run the load generator in a process of its own. Raises RuntimeError unless every answer is a success."""
    command = (sys.executable, "-m", "tests.bench.grpc_load", str(port), str(seconds), str(runs))
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    match = re.search(r"^BENCH (\d+) (\d+) (\d+)$", printed, re.MULTILINE)
    if not match or int(match[3]) or not int(match[1]):
        raise RuntimeError(f"the load failed:\n{printed}")
    return int(match[1]) / (int(match[2]) / 1e6)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class Request:
    """The call's two frames. The stream's number and the run's id are filled in for each call."""

    def __init__(self, port: int) -> None:
        sample = json.loads((ROOT / "examples" / "analysis.json").read_text())
        sample |= {"run_id": _RUN, "config": json.dumps(sample["config"])}
        message = json_format.ParseDict(sample, AnalysisRun()).SerializeToString()
        self._before, self._after = (struct.pack("!BI", 0, len(message)) + message).split(_RUN.encode())
        self._size = len(self._before) + len(_RUN) + len(self._after)
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/orchestrator.v1.Tasks/Analysis",
            ":authority": f"127.0.0.1:{port}",
            "content-type": "application/grpc+proto",
            "te": "trailers",
        }
        first, again = Encoder(), Encoder()
        self.first = first.encode(headers.items())
        again.encode(headers.items())
        self.again = again.encode(headers.items())  # each header is now an index into the dynamic table

    def frames(self, stream: int, seed: int, run: int) -> bytes:
        block = self.first if stream == 1 else self.again
        data = self._before + b"%08x-%08x" % (seed, run) + self._after
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, data)


class Connection:
    """One connection with one call in flight."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 2**31 - 1 - 65535))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + window)
        self.stream = -1
        self._received = b""
        self._message = False

    def send(self, request: Request, seed: int, run: int) -> None:
        self.stream += 2
        self._message = False
        self.socket.sendall(request.frames(self.stream, seed, run))

    def receive(self) -> bool | None:
        """None while the answer is incomplete; then, whether it is a success. Raises EOFError if the server closes."""
        received = self.socket.recv(65536)
        if not received:
            raise EOFError("the server has closed the connection")
        self._received += received
        done = None
        while len(self._received) >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(self._received)
            end = _HEAD.size + (high << 16) + low
            if len(self._received) < end:
                break
            payload, self._received = self._received[_HEAD.size : end], self._received[end:]
            if kind == DATA:
                self._message = True
            elif kind == HEADERS and flags & END_STREAM and stream == self.stream:
                done = self._message
            elif kind in (SETTINGS, PING) and not flags & ACK:
                self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == GOAWAY:
                raise EOFError(f"the server has sent GOAWAY: {payload!r}")
        return done


def main(port: int, seconds: int, runs: int) -> None:
    request = Request(port)
    selector = selectors.DefaultSelector()
    sent = done = errors = 0
    seed = int(time.time()) & 0xFFFFFFFF
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(request, seed, sent % runs if runs else sent)
        sent += 1
    while time.monotonic() < began + seconds:
        for key, _ in selector.select(1):
            answered = key.data.receive()
            if answered is None:
                continue
            done += 1
            errors += not answered
            key.data.send(request, seed, sent % runs if runs else sent)
            sent += 1
    print(f"BENCH {done} {int((time.monotonic() - began) * 1e6)} {errors}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
