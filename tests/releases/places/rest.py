"""A client of a cluster's API, with an administrator's rights. It does not use the code under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import urllib3


class Rest:
    """One server. Connections are reused."""

    def __init__(self, url: str, ca: Path, **headers: str) -> None:
        self._url = url
        self._headers = headers
        self._pool = urllib3.PoolManager(ca_certs=str(ca))

    def __call__(self, method: str, path: str, body: Any = None, media: str = "application/json") -> Any:
        answer = self._pool.request(
            method,
            f"{self._url}/{path}",
            body=None if body is None else json.dumps(body),
            headers={**self._headers, "Content-Type": media},
            timeout=10,
            retries=False,
        )
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data[:2000]!r}"
        return json.loads(answer.data) if answer.data else None
