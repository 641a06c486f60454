"""A small image registry for the tests (OCI distribution specification, pull only).

Nomad's docker driver always pulls an image whose tag is `latest`, as coat's is, even if the node has it. Docker accepts
plain HTTP from a registry on `localhost`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import IO

from tests.cluster import Image

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"  # docker detects the compression, if any
_REQUEST = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")

Content = bytes | Path


class _Store:
    """Manifests by `name/tag` and `name/digest`, and blobs by digest."""

    def __init__(self, images: Mapping[str, Image]) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, Content] = {}
        for reference, image in images.items():
            self._add(reference, image)

    def _add(self, reference: str, image: Image) -> None:
        base = f"sha256:{image.base.digest}"
        self.blobs[base] = image.base.archive
        layers = [
            {"mediaType": _LAYER, "size": image.base.archive.stat().st_size, "digest": base},
            self._blob(_LAYER, image.layer),
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(_CONFIG, image.config),
            "layers": layers,
        }
        encoded = json.dumps(manifest).encode()
        name, _, tag = reference.rpartition(":")
        self.manifests[f"{name}/{tag}"] = self.manifests[f"{name}/{_digest(encoded)}"] = encoded

    def _blob(self, media: str, content: bytes) -> dict[str, object]:
        self.blobs[_digest(content)] = content
        return {"mediaType": media, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    store: _Store
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = _REQUEST.fullmatch(self.path)
        if self.path == "/v2/":
            self._send(b"{}", "application/json", "")
        elif found and found["kind"] == "manifests":
            self._manifest(found["name"], found["reference"])
        else:
            self._blob(found["reference"] if found else "")

    do_HEAD = do_GET  # noqa: N815  (http.server's name)

    def _manifest(self, name: str, reference: str) -> None:
        content = self.store.manifests.get(f"{name}/{reference}")
        if content is None:
            self.send_error(404)
        else:
            self._send(content, _MANIFEST, _digest(content))

    def _blob(self, digest: str) -> None:
        if digest not in self.store.blobs:
            self.send_error(404)
        else:
            self._send(self.store.blobs[digest], "application/octet-stream", digest)

    def _send(self, content: Content, media: str, digest: str) -> None:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self.send_response(200)
        headers = {"Content-Type": media, "Content-Length": str(size), "Docker-Content-Digest": digest}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            stream: IO[bytes] = BytesIO(content) if isinstance(content, bytes) else content.open("rb")
            with stream:
                shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def registry(images: Mapping[str, Image]) -> Iterator[str]:
    """Serve the images by `name:tag`. Yields `localhost:port`."""
    handler = type("_RegistryHandler", (_Handler,), {"store": _Store(images)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
