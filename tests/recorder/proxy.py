"""A proxy before a cluster's API: it counts requests, passes on streams as they come, and breaks them on demand.

It accepts plain HTTP on loopback. `tests.harness.faulty_proxy` breaks single requests; this one breaks watches.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

GONE = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,'
    b'"message":"too old resource version: 1 (2)"}}\n'
)
STREAM_SECONDS = 120.0
_HOP = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding", "keep-alive"}


class Request(msgspec.Struct, frozen=True):
    """One request: what it does (`list`, `watch`, `get`, `create`, `patch`, ...) to which kind of object."""

    at: float
    verb: str
    resource: str
    path: str

    @property
    def writes(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete")


class RecordingProxy(ThreadingHTTPServer):
    """Forwards to `upstream`. The faults are attributes that may be changed at any time.

    `cut_seconds`: each stream is reset after so long. `silent_seconds`: after so long, nothing more of the stream is
    passed on, and it stays open. `gone_every`: each n-th watch is answered by 410. `closed`: every connection is
    closed at once, as by a server that is being restarted.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: str, ca: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.context = ssl.create_default_context(cafile=str(ca)) if ca else None
        self.requests: list[Request] = []
        self.injected: Counter[str] = Counter()
        self.cut_seconds = 0.0
        self.silent_seconds = 0.0
        self.gone_every = 0
        self.closed = False
        self.watches = 0
        self.connections: set[socket.socket] = set()
        self.streams: dict[socket.socket, float] = {}
        """When each open stream began."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def counts(self, since: float = 0.0) -> Counter[tuple[str, str]]:
        """How often each verb was used on each kind of object."""
        return Counter((each.verb, each.resource) for each in self.requests if each.at >= since)

    def close_all(self) -> None:
        """Close every connection, and every new one, until `closed` is false again."""
        self.closed = True
        self.injected["closed"] += 1
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Called by the server's loop: cut the streams whose time has come."""
        for connection, began in list(self.streams.items()):
            if self.cut_seconds and time.monotonic() - began > self.cut_seconds:
                self.injected["cut"] += 1
                self.streams.pop(connection, None)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: clients are killed during the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: RecordingProxy

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)
        url = self.server.upstream
        self._upstream = HTTPConnection(str(url.hostname), url.port, timeout=STREAM_SECONDS)
        if self.server.context is not None:
            self._upstream = HTTPSConnection(
                str(url.hostname), url.port, context=self.server.context, timeout=STREAM_SECONDS
            )

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        self.server.streams.pop(self.connection, None)
        self._upstream.close()
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        if self.server.closed:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = classified(self.command, self.path)
        self.server.requests.append(request)
        streamed = request.verb == "watch"
        self.server.watches += streamed
        if streamed and self.server.gone_every and self.server.watches % self.server.gone_every == 0:
            self.server.injected["gone"] += 1
            self._whole(200, GONE, "application/json")
            return
        try:
            answer = self._forwarded(body)
        except (OSError, HTTPException):
            self._upstream.close()
            self.close_connection = True
            return
        if streamed and answer.status == 200:
            self._stream(answer)
        else:
            self._whole(answer.status, answer.read(), answer.headers.get("Content-Type", ""), answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _forwarded(self, body: bytes) -> HTTPResponse:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        self._upstream.request(self.command, self.path, body or None, headers)
        return self._upstream.getresponse()

    def _whole(self, status: int, content: bytes, kind: str, answer: HTTPResponse | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in answer.headers.items() if answer else ():
            if name.startswith("X-Nomad") or name == "Retry-After":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, answer: HTTPResponse) -> None:
        """Pass on each piece as it comes. The stream ends with an error of the socket if a fault ends it."""
        began = time.monotonic()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.server.streams[self.connection] = began
        silenced = False
        with suppress(OSError, HTTPException, ValueError):
            while piece := answer.read1(65536):
                quiet = self.server.silent_seconds
                if silenced or (quiet and time.monotonic() - began > quiet):  # once silent, a stream stays so
                    self.server.injected["silent"] += not silenced
                    silenced = True
                    continue
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if not silenced:
                self.wfile.write(b"0\r\n\r\n")
        if silenced:  # the server has ended the stream, and the client must not hear of it
            with suppress(OSError):
                self.connection.recv(1)
        self._upstream.close()


def classified(method: str, path: str) -> Request:
    """What a request does, in Kubernetes' words; requests to Nomad keep their method and first path segments."""
    url = urlsplit(path)
    parts = url.path.strip("/").split("/")
    query = parse_qs(url.query)
    at = time.monotonic()
    if parts[0] == "v1":
        return _of_nomad(method, parts, at, path)
    below = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts[:-2] else parts[-1:]
    resource = "/".join(below[:1] + below[2:]) or parts[-1]
    named = len(below) > 1
    verbs = {"GET": "get" if named else "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    watched = method == "GET" and query.get("watch", ["false"])[0] in ("true", "1")
    return Request(at, "watch" if watched else verbs[method], resource, path)


def _of_nomad(method: str, parts: list[str], at: float, path: str) -> Request:
    if parts[1:3] == ["event", "stream"]:
        return Request(at, "watch", "event", path)
    verbs = {"GET": "get" if len(parts) > 2 else "list", "POST": "create", "PUT": "update", "DELETE": "delete"}
    return Request(at, verbs.get(method, method.lower()), parts[1], path)


@contextmanager
def recording_proxy(upstream: str, ca: Path | None) -> Iterator[RecordingProxy]:
    """Run a proxy in a thread. Without `ca`, the upstream speaks plain HTTP."""
    proxy = RecordingProxy(upstream, ca)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close_all()
        proxy.shutdown()
        proxy.server_close()
        thread.join(5)
