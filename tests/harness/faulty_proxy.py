"""A proxy that injects faults into requests to a cluster's API. It accepts plain HTTP and forwards to the real server.

The faults are those of real API servers and load balancers: they reset a connection before or after the request was
applied, hang, throttle, fail, or send the answer one byte at a time.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HANG_SECONDS = 30.0
DRIP_SECONDS = 0.02

CONTENDED = (
    rb'{"kind":"Status","status":"Failure","code":409,"reason":"Conflict","message":"Operation cannot be fulfilled on'
    rb' resourcequotas \"all\": the object has been modified; please apply your changes to the latest version"}'
)
"""The answer of Kubernetes when concurrent requests keep changing a quota's count."""

FAULTS = ("reset-before", "reset-after", "hang-before", "hang-after", "throttle", "fail-before", "fail-after", "drip")


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to `upstream`. The fraction `share` of the writing requests gets `fault`; with `reads_too`, of all.

    `failure` is the body of a 500.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, upstream: str, ca: Path, fault: str, share: float, *, failure: str, reads_too: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.context = ssl.create_default_context(cafile=str(ca))
        self.fault = fault
        self.share = share
        self.failure = failure
        self.reads_too = reads_too
        self.injected: Counter[str] = Counter()
        self._random = random.Random(7)
        self._lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self, method: str) -> str:
        """The fault for this request, or "" for none."""
        if method == "GET" and not self.reads_too:
            return ""
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            self.injected[self.fault] += 1
            return self.fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a client that closes early is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.draw(self.command)
        if fault == "throttle":
            self._answer(429, b'{"message":"slow down"}', {"Retry-After": "1"})
        elif fault == "contend":
            self._answer(409, CONTENDED, {})
        elif fault == "fail-before":
            self._answer(500, self.server.failure.encode(), {})
        elif fault in ("reset-before", "hang-before"):
            self._reset(fault)
        else:
            self._forward(body, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _forward(self, body: bytes, fault: str) -> None:
        status, content, headers = self._upstream(body)
        if fault in ("reset-after", "hang-after"):
            self._reset(fault)
        elif fault == "fail-after":
            self._answer(500, self.server.failure.encode(), {})
        else:
            self._answer(status, content, headers, drip=fault == "drip")

    def _upstream(self, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        upstream = self.server.upstream
        connection = HTTPSConnection(str(upstream.hostname), upstream.port, context=self.server.context, timeout=20)
        skip = {"host", "connection", "content-length", "accept-encoding"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in skip}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
        kept |= {name: value for name, value in answer.headers.items() if name.startswith("X-Nomad")}
        connection.close()
        return answer.status, content, kept

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str], *, drip: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not drip:
            self.wfile.write(content)
            return
        for index in range(len(content)):
            self.wfile.write(content[index : index + 1])
            self.wfile.flush()
            time.sleep(DRIP_SECONDS)

    def _reset(self, fault: str) -> None:
        if fault.startswith("hang"):
            self.server.ended.wait(HANG_SECONDS)
        with suppress(OSError):  # SO_LINGER with a timeout of 0 sends RST instead of FIN (socket(7))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


@contextmanager
def faulty_proxy(upstream: str, ca: Path, fault: str, share: float, **options: Any) -> Iterator[FaultyProxy]:
    """Run a proxy in a thread."""
    proxy = FaultyProxy(upstream, ca, fault, share, **options)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join(5)
