"""`/openapi.json`: the document, made once for each process at its first request."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

import falcon

from functions.http.openapi.document import encoded
from runner.request_types import RequestType


class OpenApi:
    """GET and HEAD. No token is needed, as for the health checks."""

    def __init__(self, rows: Iterable[RequestType]) -> None:
        self._rows = tuple(rows)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the document, or 304 where the client has it."""
        body, etag = self._document
        resp.etag = etag
        if any(given in ("*", etag) for given in req.if_none_match or ()):
            resp.status = falcon.HTTP_304
        else:
            resp.data = body

    on_head = on_get

    @functools.cached_property
    def _document(self) -> tuple[bytes, str]:
        body = encoded(self._rows)
        return body, hashlib.sha256(body).hexdigest()[:32]
