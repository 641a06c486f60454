"""Sending over HTTP: the result to atlas, patches to the snippet storage."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .errors import MarvinError

PUBLISH_SECONDS = 60
"""For one answer of atlas or of the snippet storage."""

Document = dict[str, Any]


def publish(kwargs: Document, environ: Mapping[str, str]) -> None:
    """Post the result to atlas once. Raises MarvinError for any answer but 200, and OSError for none."""
    name = f"{kwargs['run_id']} {kwargs.get('check_seq', '')}"
    body = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "task": environ.get("RESULT_RMQ_TASK", ""),
        "kwargs": kwargs,
        "retries": 0,
    }
    url = environ.get("RESULT_HTTP_URL", "")
    status = _send(url, json.dumps(body).encode(), "application/json", environ, method="POST")
    if status != 200:
        raise MarvinError(f"atlas answered {status}, not 200: it has not accepted the result")


class Storage:
    """The snippet storage: keeps patches until a commit fetches them."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.type = options.snippet_storage_type
        self._bucket = options.snippet_storage_bucket.rstrip("/")
        self._environ = environ

    @property
    def supported(self) -> bool:
        """Whether patches can be stored in a storage of that type."""
        return bool(self.type == "http")

    def put(self, run_id: str, patch: Document) -> None:
        """Store a patch under the run's id. Raises MarvinError where the storage refuses it."""
        url = f"{self._bucket}/{quote(run_id, safe='')}/{patch['id']}"
        status = _send(url, patch["patch"].encode(), "text/x-diff", self._environ, method="PUT")
        if status not in (200, 201, 204):
            raise MarvinError(f"The snippet storage answered {status} to a patch.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the token is for one host only."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _send(
    url: str,
    body: bytes,
    content_type: str,
    environ: Mapping[str, str],
    *,
    method: str,
) -> int:
    """The status of the answer. Raises OSError where there is none."""
    if not url.startswith(("http://", "https://")):
        raise MarvinError("RESULT_HTTP_URL and the snippet storage must be http or https URLs")
    token = environ.get("RESULT_HTTP_TOKEN", "")
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=PUBLISH_SECONDS) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return status
