"""Serves what all processes record: `/metrics` for Prometheus, `/livez` and `/readyz`. The root of its process.

GET /metrics ─▶ values of ended processes out ─▶ files of all processes, merged ─▶ text
GET /readyz  ─▶ sidecar answers? tracker and RabbitMQ, by what they recorded ─▶ 200 or 503, and each part's state
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseServer, ThreadingMixIn
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from runner import __version__
from runner.runtime.metrics import backlog, files
from runner.runtime.metrics.definitions import BUILD_INFO, QUEUE_LENGTH

log = logging.getLogger("orchestrator.metrics")

CLIENTS = 16
"""Connections that are served at once; one more is closed."""

CLIENT_SECONDS = 5.0
"""For a client to send its request, and for each piece of its answer."""


Readings = Mapping[tuple[str, str], float]
"""Each gauge's value, by its name and its driver ('' without one)."""

State = Mapping[str, Mapping[str, str]]
"""The state of each part of the installation: `ok`, or what is wrong."""


class Metrics:
    """What all processes of one directory record. A collector of prometheus_client."""

    def __init__(self, directory: Path, sidecar_socket: str) -> None:
        self._directory = directory
        self._socket = sidecar_socket
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def __repr__(self) -> str:
        return f"Metrics({self._directory})"

    def collect(self) -> Iterable[Metric]:
        """All metrics. Raises OSError if a file cannot be read."""
        files.sweep(self._directory)
        merge: Any = MultiProcessCollector.merge
        yield from merge(map(str, self._directory.glob("*.db")), accumulate=True)
        if (waiting := backlog.length(self._socket)) is not None:
            yield GaugeMetricFamily(QUEUE_LENGTH.name, QUEUE_LENGTH.help, value=waiting)
        build = GaugeMetricFamily(BUILD_INFO.name, BUILD_INFO.help, labels=BUILD_INFO.labels)
        build.add_metric([__version__], 1)
        yield build

    def readings(self) -> Readings:
        """Each gauge's value, by its name and its driver ('' without one)."""
        return {
            (sample.name, sample.labels.get("driver", "")): sample.value
            for family in self.collect()
            if family.type == "gauge"
            for sample in family.samples
        }

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text in the format that the client accepts, and its media type."""
        encode, media = choose_encoder(accept)
        return encode(self._registry), media


Check = Callable[[Readings], tuple[bool, State]]
"""Whether everything is ready, and what is to be said of each part."""


def handler(metrics: Metrics, check: Check) -> type[BaseHTTPRequestHandler]:
    """The class of http.server that answers one connection."""

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        timeout = CLIENT_SECONDS
        server_version, sys_version = "orchestrator", ""

        def do_GET(self) -> None:
            """The three paths."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, *metrics.text(self.headers.get("Accept", "")))
            elif path == "/livez":
                self._answer(200, b'{"status":"ok"}')
            elif path == "/readyz":
                ready, state = check(metrics.readings())
                self._answer(200 if ready else 503, msgspec.json.encode(state))
            else:
                self._answer(404, b'{"status":"no such path; ask for /metrics, /livez or /readyz"}')

        def _answer(self, status: int, body: bytes, media: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: Any) -> None:
            """Nothing: a scrape comes every few seconds."""

        def address_string(self) -> str:
            """A Unix socket's client has no address."""
            return ""

    return Handler


class MetricsServer(ThreadingMixIn, HTTPServer):
    """Listens at `host:port` or `unix:PATH`; a thread for each connection, CLIENTS at most."""

    daemon_threads = True

    def __init__(self, bind: str, kind: type[BaseHTTPRequestHandler]) -> None:
        self._capacity = threading.BoundedSemaphore(CLIENTS)
        if bind.startswith("unix:"):
            path = bind.removeprefix("unix:")
            self.address_family = socket.AF_UNIX
            _remove_socket(Path(path))
            BaseServer.__init__(self, path, kind)
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
            self.socket.listen(CLIENTS)
            return
        host, _, port = bind.rpartition(":")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host.strip("[]"), int(port)), kind)

    def server_bind(self) -> None:
        """Bind, without http.server's look-up of the host's name, which may wait for a DNS server."""
        self.allow_reuse_address = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, if there is capacity."""
        if self._capacity.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._capacity.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or a file that cannot be read."""
        log.warning("a request for metrics was not answered", exc_info=True)


def _remove_socket(path: Path) -> None:
    """Remove the file that an earlier process has left."""
    if path.is_socket():
        os.unlink(path)
