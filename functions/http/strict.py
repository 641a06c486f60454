"""What gunicorn's parser tolerates and is refused here: a request without a valid Host, a target of another scheme, a
coding before `chunked`, a bare LF in a chunked body, and a body of very many chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkSize,
    InvalidHeader,
    InvalidRequestLine,
    NoMoreData,
)

_HOST = re.compile(r"(?:\[[0-9A-Fa-fv:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
"""RFC 9110, 7.2; empty where the target has no authority."""


MAX_CHUNKS = 16_384
"""Chunks of one body. Each costs some microseconds, so that four megabytes of single bytes would take half a minute."""


class StrictChunkedReader(ChunkedReader):  # type: ignore[misc]
    """gunicorn's reader, which would wait for the CR of a bare LF (RFC 9112, 2.2)."""

    def parse_chunked(self, unreader: Any) -> Iterator[bytes]:
        """The chunks' data, piece by piece."""
        left, data = self.parse_chunk_size(unreader)
        chunks = 1
        while left:
            yield data[:left]
            left, data = left - len(data[:left]), data[left:]
            if not left:
                while data in (b"", b"\r"):
                    data += _more(unreader)
                if data[:2] != b"\r\n":
                    raise ChunkMissingTerminator(data[:2])
                left, data = self.parse_chunk_size(unreader, data=data[2:])
                chunks += 1
                if chunks > MAX_CHUNKS:
                    raise InvalidChunkSize(b"too many chunks")
            elif not data:
                data = _more(unreader, read_ahead=left)

    def read_into(self, unreader: Any, buf: bytearray) -> None:
        """gunicorn calls this while the line in `buf` has no CRLF."""
        if b"\n" in buf:
            raise InvalidChunkSize(b"bare LF")
        super().read_into(unreader, buf)


def _require_http(target: str) -> None:
    """A target in absolute form: without a host it must be refused (RFC 9110, 4.2.1), with a login it is (4.2.4)."""
    scheme, _, rest = target.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if scheme.lower() not in ("http", "https") or not authority or not _HOST.fullmatch(authority):
        raise InvalidRequestLine("the target is no http URL with a host and without a login")


def _more(unreader: Any, **bounds: int) -> bytes:
    data: bytes = unreader.read(None, **bounds)
    if not data:
        raise NoMoreData
    return data


def require_strict(request: Any) -> None:
    """Refuse a request without a valid Host (RFC 9112, 3.2), and have a chunked body read strictly.

    Raises InvalidHeader, also for `gzip, chunked`, which nothing here would decode.
    """
    hosts = [value for name, value in request.headers if name == "HOST"]
    if request.version >= (1, 1) and not hosts:
        raise InvalidHeader("there is no Host", req=request)
    if not all(map(_HOST.fullmatch, hosts)):
        raise InvalidHeader("HOST", req=request)
    if not request.uri.startswith("/") and "://" in request.uri:
        _require_http(request.uri)
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.strip().lower() != "chunked":
            raise InvalidHeader("TRANSFER-ENCODING", req=request)
    if isinstance(request.body.reader, ChunkedReader):  # nothing of it has been read yet
        request.body = Body(StrictChunkedReader(request, request.unreader))
