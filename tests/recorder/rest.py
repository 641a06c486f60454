"""A client of a cluster's HTTP API with the administrator's token. Any number of threads may use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

MERGE_PATCH = "application/merge-patch+json"
CONNECTIONS = 32


class ApiError(Exception):
    """The server answered with an error status."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path}: {status} {text}")
        self.status = status


class Api:
    """One server. `headers` authenticate the client."""

    def __init__(self, url: str, ca: Path, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(CONNECTIONS, maxsize=CONNECTIONS, ca_certs=str(ca), retries=False)

    def call(self, method: str, path: str, body: object = None, media: str = "application/json", **query: str) -> Any:
        """One request. Returns the decoded answer. Raises ApiError for a status of 400 or more."""
        url = f"{self._url}{path}{'?' + urlencode(query) if query else ''}"
        content = None if body is None else msgspec.json.encode(body)
        headers = {**self._headers, "Content-Type": media}
        answer = self._pool.request(method, url, body=content, headers=headers, timeout=30)
        if answer.status >= 400:
            raise ApiError(method, path, answer.status, answer.data[:300].decode(errors="replace"))
        json = answer.headers.get("Content-Type", "").startswith("application/json")
        return msgspec.json.decode(answer.data) if json and answer.data else answer.data

    def lines(self, path: str, seconds: float = 60, **query: str) -> Iterator[bytes]:
        """The lines of a streamed answer. Ends with the stream; raises an error of urllib3 after silence."""
        url = f"{self._url}{path}?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=5, read=seconds)
        answer = self._pool.request("GET", url, headers=self._headers, timeout=timeout, preload_content=False)
        try:
            if answer.status >= 400:
                raise ApiError("GET", path, answer.status, answer.data[:300].decode(errors="replace"))
            pending = b""
            for piece in answer.stream(65536, decode_content=True):
                *complete, pending = (pending + piece).split(b"\n")
                yield from filter(None, complete)
        finally:
            answer.close()
