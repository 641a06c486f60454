"""A small HTTPS client for requests to both clusters' APIs."""

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ClusterError


@dataclass(frozen=True)
class Rest:
    """An HTTPS server, the authority of its certificate, and the headers that authenticate the client."""

    url: str
    ca: Path
    headers: tuple[tuple[str, str], ...]

    def __call__(self, path: str, body: object = None, *, seconds: float = 5) -> Any:
        """Send a GET, or a PUT if there is a body. Returns the answer's body, parsed if it is JSON.

        Raises ClusterError with the answer's body if the request fails.
        """
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **dict(self.headers)},
            method="GET" if body is None else "PUT",
        )
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
        try:
            with direct.open(request, timeout=seconds) as answer:
                content = answer.read().decode()
                kind = answer.headers.get_content_type()
                return json.loads(content) if kind == "application/json" else content
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(500).decode(errors="replace").strip()
            raise ClusterError(f"{path}: {error.code} {text}") from error
        except (OSError, ValueError) as error:
            raise ClusterError(f"{path}: {error}") from error
